"""What guards, undo, the recycle bin, expiring grants and seals need."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    String,
    false,
    text,
)

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG_ID = BigInteger().with_variant(Integer, "sqlite")
BINARY_TEXT = String().with_variant(String(collation="C"), "postgresql")
INSTANT = DateTime(timezone=True)
ADDED = (
    ("roles", "protected", Boolean, false()),
    ("claims", "protected", Boolean, false()),
    ("user_claims", "reason", String, None),
    ("user_claims", "expires_at", INSTANT, None),
    ("operations", "undoes", BIG_ID, None),
    ("changes", "salt", String, None),
    ("changes", "digest", String, None),
)
"""Table, column, type, and what stands in it at first; None is nothing."""

GRANT_USER = "user_claims_fk"
"""The key from grants to users. PostgreSQL looks twice for each deleted user where it does not
restrict: once for a user with the same id, and then for grants."""

SEALS = ("seals", "seal_blocks", "sealed_operations")
NEW_TABLES = ("recycled_users", "recycled_grants", "recycled_passwords", *SEALS)
ERASED = """NEW.digest IS NOT NULL AND OLD.digest IS NULL AND NEW.name = '' AND NEW.salt IS NULL
            AND NEW."before" IS NULL AND NEW."after" IS NULL AND NEW.id = OLD.id
            AND NEW.operation_id = OLD.operation_id AND NEW.entity = OLD.entity
            AND NEW.entity_id = OLD.entity_id AND NEW.action = OLD.action"""
"""The one update of a change that is allowed: its images give way to their digest."""


def upgrade() -> None:
    """Add columns and tables, and let the images of a person who asks for it be erased."""
    for table, column, kind, default in ADDED:
        nullable = default is None
        op.add_column(table, Column(column, kind, nullable=nullable, server_default=default))
    for table, column in (("user_claims", "expires_at"), ("operations", "undoes")):
        condition = text(f"{column} IS NOT NULL")
        op.create_index(
            f"{table}_{column}_idx",
            table,
            [column],
            postgresql_where=condition,
            sqlite_where=condition,
        )
    erasures = text("action = 'erase'")
    op.create_index(
        "changes_erasures_idx",
        "changes",
        ["entity_id"],
        postgresql_where=erasures,
        sqlite_where=erasures,
    )
    create_recycle_bin()
    create_seals()
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TRIGGER changes_no_update")
        refuse("changes", "UPDATE", f"BEFORE UPDATE ON changes WHEN NOT ({ERASED})")
        for table in SEALS:
            refuse_changes_sqlite(table)
    else:
        refuse_changes_postgresql()
        op.execute(f"ALTER TABLE user_claims DROP CONSTRAINT IF EXISTS {GRANT_USER}")
        op.create_foreign_key(
            GRANT_USER, "user_claims", "users", ["user_id"], ["id"], ondelete="RESTRICT"
        )


def downgrade() -> None:
    """Drop them; what only they hold is lost: protection, reasons, expiries, bin and seals.

    Expired grants are removed, because nothing would tell them from others any more.
    """
    op.execute("DELETE FROM user_claims WHERE expires_at <= CURRENT_TIMESTAMP")
    on_sqlite = op.get_context().dialect.name == "sqlite"
    if on_sqlite:
        op.execute("DROP TRIGGER changes_no_update")
    else:
        op.execute("DROP TRIGGER changes_erase_only ON changes")
        op.execute("DROP TRIGGER changes_append_only ON changes")
        op.execute("DROP FUNCTION usermgr_erase_only()")
        op.execute(f"ALTER TABLE user_claims DROP CONSTRAINT IF EXISTS {GRANT_USER}")
        op.create_foreign_key(GRANT_USER, "user_claims", "users", ["user_id"], ["id"])
    for table in reversed(NEW_TABLES):
        op.drop_table(table)
    op.drop_index("changes_erasures_idx", "changes")
    op.drop_index("operations_undoes_idx", "operations")
    op.drop_index("user_claims_expires_at_idx", "user_claims")
    for table, column, _, _ in reversed(ADDED):
        op.drop_column(table, column)
    if on_sqlite:
        refuse("changes", "UPDATE", "BEFORE UPDATE ON changes")
    else:
        append_only("changes", "UPDATE OR DELETE OR TRUNCATE")


def create_recycle_bin() -> None:
    """What deleted users and replaced passwords were, until the retention time is over."""
    op.create_table(
        "recycled_users",
        Column("operation_id", BIG_ID, nullable=False),
        Column("id", BIG_ID, nullable=False),
        Column("name", String, nullable=False),
        Column("email", BINARY_TEXT, nullable=False),
        Column("password", String, nullable=False),
        Column("role_id", Integer, nullable=False),
        Column("created_at", INSTANT, nullable=False),
        Column("updated_at", INSTANT, nullable=True),
        Column("active", Boolean, nullable=False),
        Column("version", Integer, nullable=False),
        Column("created_in", BIG_ID, nullable=True),
        Column("restored_in", BIG_ID, nullable=True),
        PrimaryKeyConstraint("id", "operation_id", name="recycled_users_pk"),
    )
    op.create_index("recycled_users_operation_id_idx", "recycled_users", ["operation_id"])
    op.create_index("recycled_users_email_idx", "recycled_users", ["email"])
    op.create_table(
        "recycled_grants",
        Column("operation_id", BIG_ID, nullable=False),
        Column("user_id", BIG_ID, nullable=False),
        Column("claim_id", BIG_ID, nullable=False),
        Column("reason", String, nullable=True),
        Column("expires_at", INSTANT, nullable=True),
        PrimaryKeyConstraint("operation_id", "user_id", "claim_id", name="recycled_grants_pk"),
    )
    op.create_table(
        "recycled_passwords",
        Column("operation_id", BIG_ID, nullable=False),
        Column("user_id", BIG_ID, nullable=False),
        Column("password", String, nullable=False),
        PrimaryKeyConstraint("operation_id", "user_id", name="recycled_passwords_pk"),
    )
    op.create_index("recycled_passwords_user_id_idx", "recycled_passwords", ["user_id"])


def create_seals() -> None:
    """The chain of digests over the history, and which rows each covers."""
    op.create_table(
        "seals",
        Column("id", BIG_ID, Identity(always=True), nullable=False),
        Column("sealed_at", INSTANT, nullable=False),
        Column("operations", BIG_ID, nullable=False),
        Column("changes", BIG_ID, nullable=False),
        Column("previous", String, nullable=False),
        Column("digest", String, nullable=False),
        Column("public_key", String, nullable=True),
        Column("signature", String, nullable=True),
        PrimaryKeyConstraint("id", name="seals_pk"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "seal_blocks",
        Column("seal_id", BIG_ID, nullable=False),
        Column("number", Integer, nullable=False),
        Column("leaves", String, nullable=False),
        PrimaryKeyConstraint("seal_id", "number", name="seal_blocks_pk"),
    )
    op.create_table(
        "sealed_operations",
        Column("operation_id", BIG_ID, autoincrement=False, nullable=False),
        Column("seal_id", BIG_ID, nullable=False),
        PrimaryKeyConstraint("operation_id", name="sealed_operations_pk"),
    )


def refuse_changes_postgresql() -> None:
    """Refuse what the earlier triggers refuse, but for an erasure, and the same for seals."""
    op.execute(f"""
CREATE FUNCTION usermgr_erase_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {ERASED} THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the history is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$
    """)
    op.execute("DROP TRIGGER changes_append_only ON changes")
    append_only("changes", "DELETE OR TRUNCATE")
    op.execute(
        "CREATE TRIGGER changes_erase_only BEFORE UPDATE ON changes"
        " FOR EACH ROW EXECUTE FUNCTION usermgr_erase_only()"
    )
    for table in SEALS:
        append_only(table, "UPDATE OR DELETE OR TRUNCATE")


def append_only(table: str, events: str) -> None:
    """Refuse the events on PostgreSQL, also of no row at all."""
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE {events} ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION usermgr_append_only()"
    )


def refuse_changes_sqlite(table: str) -> None:
    """Refuse UPDATE, DELETE, and INSERT OR REPLACE, which removes a row without a DELETE."""
    refuse(table, "UPDATE", f"BEFORE UPDATE ON {table}")
    refuse(table, "DELETE", f"BEFORE DELETE ON {table}")
    same = {
        "seals": "id = NEW.id",
        "seal_blocks": "seal_id = NEW.seal_id AND number = NEW.number",
        "sealed_operations": "operation_id = NEW.operation_id",
    }[table]
    refuse(
        table,
        "REPLACE",
        f"BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})",
    )


def refuse(table: str, event: str, when: str) -> None:
    """Let one event fail on SQLite."""
    message = f"the history is append-only: {event} of {table} is refused"
    op.execute(
        f"CREATE TRIGGER {table}_no_{event.lower()} {when}\n"
        f"BEGIN\n    SELECT RAISE(ABORT, '{message}');\nEND"
    )
