"""What the HTTP face needs: tokens, and the answers to requests that may be repeated."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    String,
    text,
)

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG_ID = BigInteger().with_variant(Integer, "sqlite")
BINARY_TEXT = String().with_variant(String(collation="C"), "postgresql")
INSTANT = DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables; nothing of what is there changes."""
    op.create_table(
        "tokens",
        Column("id", BIG_ID, Identity(always=True), nullable=False),
        Column("name", BINARY_TEXT, nullable=False),
        Column("digest", String, nullable=False),
        Column("scopes", String, nullable=False),
        Column("user_id", BIG_ID, nullable=True),
        Column("created_at", INSTANT, nullable=False),
        Column("expires_at", INSTANT, nullable=False),
        Column("last_used_at", INSTANT, nullable=True),
        Column("revoked_at", INSTANT, nullable=True),
        PrimaryKeyConstraint("id", name="tokens_pk"),
        sqlite_autoincrement=True,
    )
    in_force = text("revoked_at IS NULL")
    op.create_index(
        "tokens_name_un",
        "tokens",
        ["name"],
        unique=True,
        postgresql_where=in_force,
        sqlite_where=in_force,
    )
    op.create_table(
        "idempotency_keys",
        Column("token_id", BIG_ID, nullable=False),
        Column("key", String, nullable=False),
        Column("fingerprint", String, nullable=False),
        Column("operation_id", BIG_ID, nullable=True),
        Column("created_at", INSTANT, nullable=False),
        Column("answer", String, nullable=False),
        PrimaryKeyConstraint("token_id", "key", name="idempotency_keys_pk"),
    )
    op.create_index("idempotency_keys_created_at_idx", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    """Drop them: every token stops working."""
    op.drop_table("idempotency_keys")
    op.drop_table("tokens")
