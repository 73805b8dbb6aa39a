"""The history: operations and their changes, which can only be added to."""

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    String,
)
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG_ID = BigInteger().with_variant(Integer, "sqlite")
IMAGE = JSON().with_variant(JSONB(), "postgresql")
BINARY_TEXT = String().with_variant(String(collation="C"), "postgresql")
INSTANT = DateTime(timezone=True)
TABLES = ("operations", "changes")


def upgrade() -> None:
    """Create operations and changes, and refuse every change of what they hold."""
    op.create_table(
        "operations",
        Column("id", BIG_ID, Identity(), nullable=False),
        Column("command", String, nullable=False),
        Column("actor", String, nullable=False),
        Column("source", String, nullable=False),
        Column("started_at", INSTANT, nullable=False),
        Column("finished_at", INSTANT, nullable=False),
        Column("outcome", String, nullable=False),
        Column("counts", IMAGE, nullable=False),
        PrimaryKeyConstraint("id", name="operations_pk"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "changes",
        Column("id", BIG_ID, Identity(always=True), nullable=False),
        Column("operation_id", BIG_ID, nullable=False),
        Column("entity", String, nullable=False),
        Column("entity_id", BIG_ID, nullable=False),
        Column("name", BINARY_TEXT, nullable=False),
        Column("action", String, nullable=False),
        Column("before", IMAGE, nullable=True),
        Column("after", IMAGE, nullable=True),
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
    op.create_index("changes_operation_id_idx", "changes", ["operation_id"])
    op.create_index("changes_entity_idx", "changes", ["entity", "entity_id"])
    op.create_index("changes_name_idx", "changes", ["entity", "name"])
    if op.get_context().dialect.name == "sqlite":
        refuse_changes_sqlite()
    else:
        refuse_changes_postgresql()


def downgrade() -> None:
    """Drop the history with everything in it."""
    # A new history counts its operations from 1 again: none of them created these users.
    op.execute("UPDATE users SET created_in = NULL WHERE created_in IS NOT NULL")
    op.drop_table("changes")
    op.drop_table("operations")
    if op.get_context().dialect.name != "sqlite":
        op.execute("DROP FUNCTION usermgr_append_only()")


def refuse_changes_postgresql() -> None:
    """Refuse UPDATE, DELETE and TRUNCATE, also of no row at all."""
    op.execute("""
CREATE FUNCTION usermgr_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$
    """)
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION usermgr_append_only()"
        )


def refuse_changes_sqlite() -> None:
    """Refuse UPDATE, DELETE, and INSERT OR REPLACE, which removes a row without a DELETE."""
    for table in TABLES:
        refuse(table, "UPDATE", f"BEFORE UPDATE ON {table}")
        refuse(table, "DELETE", f"BEFORE DELETE ON {table}")
        replaced = f"EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)"
        refuse(table, "REPLACE", f"BEFORE INSERT ON {table} WHEN {replaced}")


def refuse(table: str, event: str, when: str) -> None:
    """Let one event fail on SQLite."""
    message = f"the history is append-only: {event} of {table} is refused"
    op.execute(
        f"CREATE TRIGGER {table}_no_{event.lower()} {when}\n"
        f"BEGIN\n    SELECT RAISE(ABORT, '{message}');\nEND"
    )
