"""The tables, as SQLAlchemy Core metadata; both databases and every statement start from here.

The names of the first four tables and their constraints are those of the challenge whose databases
``schema init`` adopts; docs/architecture.md tells why there is no ORM mapping here.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

HEAD_REVISION = "0005"
"""The revision this program works with; a test holds it to the newest file in migrations/."""

VERSION_TABLE = "usermgr_version"
"""Holds the revision. Alembic's usual alembic_version belongs to the application beside us."""


class Instant(TypeDecorator[datetime]):
    """An aware UTC instant: ``timestamptz`` on PostgreSQL, naive UTC text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        aware: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC)


def read_instant(text: str) -> datetime:
    """The aware UTC instant of a time in ISO 8601, which SQLite keeps without a zone.

    Raises ValueError or OverflowError for what is no such text, or no date of the calendar.
    """
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)


def stored_instant(value: datetime) -> str:
    """The aware instant as SQLite keeps it, which is how SQLAlchemy stores it."""
    naive = value.astimezone(UTC).replace(tzinfo=None)
    return naive.isoformat(sep=" ", timespec="microseconds")


class StoredText(String):
    """Text as SQLite keeps it, where any column may hold a blob as well: that is not text."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        return _require_text


def _require_text(value: Any) -> Any:
    if isinstance(value, bytes):
        raise TypeError("a blob stands where text belongs")
    return value


BigId = BigInteger().with_variant(Integer, "sqlite")
Image = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Text = String().with_variant(StoredText(), "sqlite")
BinaryText = Text.with_variant(String(collation="C"), "postgresql")
"""Text compared by code point on both databases, so that both sort and page alike."""

metadata = MetaData()


def _index_of_few(name: str, column: Column[Any]) -> None:
    """Index a column that is empty nearly everywhere, where it is not."""
    filled = column.is_not(None)
    Index(name, column, postgresql_where=filled, sqlite_where=filled)


roles = Table(
    "roles",
    metadata,
    Column("id", Integer, Identity(always=True), nullable=False),
    Column("description", Text, nullable=False),
    Column("protected", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("id", name="roles_pk"),
    sqlite_autoincrement=True,
)
Index("roles_description_un", func.lower(roles.c.description), unique=True)

claims = Table(
    "claims",
    metadata,
    Column("id", BigId, Identity(always=True), nullable=False),
    Column("description", Text, nullable=False),
    Column("active", Boolean, nullable=False, server_default=true()),
    Column("protected", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("id", name="claims_pk"),
    sqlite_autoincrement=True,
)
Index("claims_description_un", func.lower(claims.c.description), unique=True)

users = Table(
    "users",
    metadata,
    Column("id", BigId, Identity(always=True), nullable=False),
    Column("name", Text, nullable=False),
    Column("email", BinaryText, nullable=False),
    Column("password", Text, nullable=False, server_default=text("'!'")),
    Column("role_id", Integer, nullable=False),
    Column("created_at", Instant, nullable=False, server_default=func.now()),
    Column("updated_at", Instant, nullable=True),
    Column("active", Boolean, nullable=False, server_default=true()),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("created_in", BigId, nullable=True),
    PrimaryKeyConstraint("id", name="users_pk"),
    UniqueConstraint("email", name="users_email_un"),
    ForeignKeyConstraint(["role_id"], ["roles.id"], name="users_fk"),
    CheckConstraint("email = lower(email)", name="users_email_lower"),
    sqlite_autoincrement=True,
)
Index("users_role_id_idx", users.c.role_id)

user_claims = Table(
    "user_claims",
    metadata,
    Column("user_id", BigId, nullable=False),
    Column("claim_id", BigId, nullable=False),
    Column("reason", Text, nullable=True),
    Column("expires_at", Instant, nullable=True),
    PrimaryKeyConstraint("user_id", "claim_id", name="user_claims_pk"),
    # PostgreSQL looks twice for each deleted user without RESTRICT, which SQLite does not need.
    ForeignKeyConstraint(["user_id"], ["users.id"], name="user_claims_fk", ondelete="RESTRICT"),
    ForeignKeyConstraint(["claim_id"], ["claims.id"], name="user_claims_fk_1"),
)
Index("user_claims_claim_id_idx", user_claims.c.claim_id)
_index_of_few("user_claims_expires_at_idx", user_claims.c.expires_at)

operations = Table(
    "operations",
    metadata,
    Column("id", BigId, Identity(), nullable=False),
    Column("command", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("counts", Image, nullable=False),
    Column("undoes", BigId, nullable=True),
    PrimaryKeyConstraint("id", name="operations_pk"),
    sqlite_autoincrement=True,
)
_index_of_few("operations_undoes_idx", operations.c.undoes)

changes = Table(
    "changes",
    metadata,
    Column("id", BigId, Identity(always=True), nullable=False),
    Column("operation_id", BigId, nullable=False),
    Column("entity", Text, nullable=False),
    Column("entity_id", BigId, nullable=False),
    Column("name", BinaryText, nullable=False),
    Column("action", Text, nullable=False),
    Column("before", Image, nullable=True),
    Column("after", Image, nullable=True),
    Column("salt", Text, nullable=True, default=lambda: secrets.token_hex(16)),
    Column("digest", Text, nullable=True),
    PrimaryKeyConstraint("id", name="changes_pk"),
    ForeignKeyConstraint(
        ["operation_id"],
        ["operations.id"],
        name="changes_fk",
        deferrable=True,
        initially="DEFERRED",
    ),
    sqlite_autoincrement=True,
)
Index("changes_operation_id_idx", changes.c.operation_id)
Index("changes_entity_idx", changes.c.entity, changes.c.entity_id)
Index("changes_name_idx", changes.c.entity, changes.c.name)
_ERASURES = text("action = 'erase'")
Index(
    "changes_erasures_idx", changes.c.entity_id, postgresql_where=_ERASURES, sqlite_where=_ERASURES
)

recycled_users = Table(
    "recycled_users",
    metadata,
    Column("operation_id", BigId, nullable=False),
    Column("id", BigId, nullable=False),
    Column("name", Text, nullable=False),
    Column("email", BinaryText, nullable=False),
    Column("password", Text, nullable=False),
    Column("role_id", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=True),
    Column("active", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_in", BigId, nullable=True),
    Column("restored_in", BigId, nullable=True),
    PrimaryKeyConstraint("id", "operation_id", name="recycled_users_pk"),
)
Index("recycled_users_operation_id_idx", recycled_users.c.operation_id)
Index("recycled_users_email_idx", recycled_users.c.email)

recycled_grants = Table(
    "recycled_grants",
    metadata,
    Column("operation_id", BigId, nullable=False),
    Column("user_id", BigId, nullable=False),
    Column("claim_id", BigId, nullable=False),
    Column("reason", Text, nullable=True),
    Column("expires_at", Instant, nullable=True),
    PrimaryKeyConstraint("operation_id", "user_id", "claim_id", name="recycled_grants_pk"),
)

recycled_passwords = Table(
    "recycled_passwords",
    metadata,
    Column("operation_id", BigId, nullable=False),
    Column("user_id", BigId, nullable=False),
    Column("password", Text, nullable=False),
    PrimaryKeyConstraint("operation_id", "user_id", name="recycled_passwords_pk"),
)
Index("recycled_passwords_user_id_idx", recycled_passwords.c.user_id)

seals = Table(
    "seals",
    metadata,
    Column("id", BigId, Identity(always=True), nullable=False),
    Column("sealed_at", Instant, nullable=False),
    Column("operations", BigId, nullable=False),
    Column("changes", BigId, nullable=False),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("public_key", Text, nullable=True),
    Column("signature", Text, nullable=True),
    PrimaryKeyConstraint("id", name="seals_pk"),
    sqlite_autoincrement=True,
)

seal_blocks = Table(
    "seal_blocks",
    metadata,
    Column("seal_id", BigId, nullable=False),
    Column("number", Integer, nullable=False),
    Column("leaves", Text, nullable=False),
    PrimaryKeyConstraint("seal_id", "number", name="seal_blocks_pk"),
)

sealed_operations = Table(
    "sealed_operations",
    metadata,
    Column("operation_id", BigId, autoincrement=False, nullable=False),
    Column("seal_id", BigId, nullable=False),
    PrimaryKeyConstraint("operation_id", name="sealed_operations_pk"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", BigId, Identity(always=True), nullable=False),
    Column("name", BinaryText, nullable=False),
    Column("digest", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("user_id", BigId, nullable=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("last_used_at", Instant, nullable=True),
    Column("revoked_at", Instant, nullable=True),
    PrimaryKeyConstraint("id", name="tokens_pk"),
    sqlite_autoincrement=True,
)
_IN_FORCE = tokens.c.revoked_at.is_(None)
Index(
    "tokens_name_un",
    tokens.c.name,
    unique=True,
    postgresql_where=_IN_FORCE,
    sqlite_where=_IN_FORCE,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("token_id", BigId, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("operation_id", BigId, nullable=True),
    Column("created_at", Instant, nullable=False),
    Column("answer", Text, nullable=False),
    PrimaryKeyConstraint("token_id", "key", name="idempotency_keys_pk"),
)
Index("idempotency_keys_created_at_idx", idempotency_keys.c.created_at)
