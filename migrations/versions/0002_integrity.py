"""Keys, indexes and checks that the challenge lacks; instants in place of dates.

E-mails must be canonical and names unique before: ``usermgr.db.adopt`` sees to that, in the same
transaction. SQLite cannot change columns and constraints, so tables are built anew there, as its
documentation describes ("Making Other Kinds Of Table Schema Changes").
"""

from alembic import op
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Date,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    String,
    UniqueConstraint,
    func,
    text,
    true,
)
from sqlalchemy.exc import OperationalError

from usermgr.errors import Conflict
from usermgr.names import visible

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEPT = "id, name, email, password, role_id"
KNOWN = {
    "users": f"{KEPT}, created_at, updated_at, active, version, created_in",
    "user_claims": "user_id, claim_id",
}


def upgrade() -> None:
    """Hold e-mails, grants and names unique, index what is looked up, and keep instants."""
    if op.get_context().dialect.name == "sqlite":
        upgrade_sqlite()
    else:
        upgrade_postgresql()
    op.create_index("roles_description_un", "roles", [text("lower(description)")], unique=True)
    op.create_index("claims_description_un", "claims", [text("lower(description)")], unique=True)
    op.create_index("users_role_id_idx", "users", ["role_id"])
    op.create_index("user_claims_claim_id_idx", "user_claims", ["claim_id"])


def downgrade() -> None:
    """Take the challenge's tables back: instants become their UTC dates, new columns are lost."""
    for index, table in (
        ("user_claims_claim_id_idx", "user_claims"),
        ("users_role_id_idx", "users"),
        ("claims_description_un", "claims"),
        ("roles_description_un", "roles"),
    ):
        op.drop_index(index, table)
    if op.get_context().dialect.name == "sqlite":
        downgrade_sqlite()
    else:
        downgrade_postgresql()


def upgrade_postgresql() -> None:
    # The cast to timestamp makes the same statement right for the dates of the challenge and for
    # adopted tables that hold times already.
    op.execute("""
        ALTER TABLE users
            ALTER COLUMN email TYPE varchar COLLATE "C",
            ALTER COLUMN password SET DEFAULT '!',
            ALTER COLUMN created_at TYPE timestamptz
                USING CAST(created_at AS timestamp) AT TIME ZONE 'UTC',
            ALTER COLUMN created_at SET DEFAULT now(),
            ALTER COLUMN updated_at TYPE timestamptz
                USING CAST(updated_at AS timestamp) AT TIME ZONE 'UTC',
            ADD COLUMN active boolean NOT NULL DEFAULT true,
            ADD COLUMN version integer NOT NULL DEFAULT 1,
            ADD COLUMN created_in bigint,
            ADD CONSTRAINT users_email_un UNIQUE (email),
            ADD CONSTRAINT users_email_lower CHECK (email = lower(email))
    """)
    op.execute("""
        ALTER TABLE user_claims
            DROP CONSTRAINT user_claims_un,
            ADD CONSTRAINT user_claims_pk PRIMARY KEY (user_id, claim_id)
    """)


def downgrade_postgresql() -> None:
    op.execute("""
        ALTER TABLE user_claims
            DROP CONSTRAINT user_claims_pk,
            ADD CONSTRAINT user_claims_un UNIQUE (user_id, claim_id)
    """)
    op.execute("""
        ALTER TABLE users
            DROP CONSTRAINT users_email_lower,
            DROP CONSTRAINT users_email_un,
            DROP COLUMN created_in,
            DROP COLUMN version,
            DROP COLUMN active,
            ALTER COLUMN updated_at TYPE date
                USING CAST(updated_at AT TIME ZONE 'UTC' AS date),
            ALTER COLUMN created_at DROP DEFAULT,
            ALTER COLUMN created_at TYPE date
                USING CAST(created_at AT TIME ZONE 'UTC' AS date),
            ALTER COLUMN password DROP DEFAULT,
            ALTER COLUMN email TYPE varchar COLLATE "default"
    """)
    # A primary key makes its columns NOT NULL; the challenge has them so, too.


def upgrade_sqlite() -> None:
    op.create_table(
        "users_new",
        Column("id", Integer, Identity(always=True), nullable=False),
        Column("name", String, nullable=False),
        Column("email", String, nullable=False),
        Column("password", String, nullable=False, server_default=text("'!'")),
        Column("role_id", Integer, nullable=False),
        Column("created_at", DateTime, nullable=False, server_default=func.now()),
        Column("updated_at", DateTime, nullable=True),
        Column("active", Boolean, nullable=False, server_default=true()),
        Column("version", Integer, nullable=False, server_default=text("1")),
        Column("created_in", Integer, nullable=True),
        PrimaryKeyConstraint("id", name="users_pk"),
        UniqueConstraint("email", name="users_email_un"),
        ForeignKeyConstraint(["role_id"], ["roles.id"], name="users_fk"),
        CheckConstraint("email = lower(email)", name="users_email_lower"),
        sqlite_autoincrement=True,
    )
    replace_sqlite_table(
        "users",
        f"{KEPT}, created_at, updated_at",
        f"{KEPT}, usermgr_instant(created_at), usermgr_instant(updated_at)",
    )
    op.create_table(
        "user_claims_new",
        Column("user_id", Integer, nullable=False),
        Column("claim_id", Integer, nullable=False),
        PrimaryKeyConstraint("user_id", "claim_id", name="user_claims_pk"),
        ForeignKeyConstraint(["user_id"], ["users.id"], name="user_claims_fk"),
        ForeignKeyConstraint(["claim_id"], ["claims.id"], name="user_claims_fk_1"),
    )
    replace_sqlite_table("user_claims", "user_id, claim_id", "user_id, claim_id")


def downgrade_sqlite() -> None:
    op.create_table(
        "user_claims_new",
        Column("user_id", Integer, nullable=False),
        Column("claim_id", Integer, nullable=False),
        UniqueConstraint("user_id", "claim_id", name="user_claims_un"),
        ForeignKeyConstraint(["user_id"], ["users.id"], name="user_claims_fk"),
        ForeignKeyConstraint(["claim_id"], ["claims.id"], name="user_claims_fk_1"),
    )
    replace_sqlite_table("user_claims", "user_id, claim_id", "user_id, claim_id")
    op.create_table(
        "users_new",
        Column("id", Integer, Identity(always=True), nullable=False),
        Column("name", String, nullable=False),
        Column("email", String, nullable=False),
        Column("password", String, nullable=False),
        Column("role_id", Integer, nullable=False),
        Column("created_at", Date, nullable=False),
        Column("updated_at", Date, nullable=True),
        PrimaryKeyConstraint("id", name="users_pk"),
        ForeignKeyConstraint(["role_id"], ["roles.id"], name="users_fk"),
        sqlite_autoincrement=True,
    )
    replace_sqlite_table(
        "users", f"{KEPT}, created_at, updated_at", f"{KEPT}, date(created_at), date(updated_at)"
    )


def replace_sqlite_table(table: str, columns: str, values: str) -> None:
    """Put ``<table>_new``, filled from the old rows, in the table's place.

    The table's counter goes along: an id that was used once is not given out again. So do indexes
    and triggers of others. Raises Conflict where a column of others would be lost.
    """
    connection = op.get_bind()
    require_no_other_columns(connection, table)
    # Our own indexes are not there yet, or not any more.
    others = list(
        connection.execute(
            text(
                "SELECT sql FROM sqlite_master WHERE type IN ('index', 'trigger')"
                " AND sql IS NOT NULL AND lower(tbl_name) = :table"
            ),
            {"table": table},
        ).scalars()
    )
    counter = connection.execute(
        text("SELECT seq FROM sqlite_sequence WHERE name = :table"), {"table": table}
    ).scalar()
    copy = f"INSERT INTO {table}_new ({columns}) SELECT {values} FROM {table}"
    connection.exec_driver_sql(copy)
    op.drop_table(table)
    op.rename_table(f"{table}_new", table)
    for statement in others:
        create_again(connection, table, statement)
    if counter is None:
        return
    connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :table"), {"table": table})
    connection.execute(
        text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :counter)"),
        {"table": table, "counter": counter},
    )


def create_again(connection: Connection, table: str, statement: str) -> None:
    """Create an index or trigger of others. Raises Conflict where it uses a column that is gone."""
    try:
        connection.exec_driver_sql(statement)
    except OperationalError as error:
        raise Conflict(
            f"{table} is built anew on SQLite, and this does not fit any more: "
            f"{visible(statement, 200)}",
            hint="drop it, then run this again",
        ) from error


def require_no_other_columns(connection: Connection, table: str) -> None:
    """Raise Conflict when the table has columns that are not ours: they would be lost."""
    names = connection.execute(
        text("SELECT name FROM pragma_table_xinfo(:table)"), {"table": table}
    ).scalars()
    others = [name for name in names if name.lower() not in KNOWN[table].split(", ")]
    if others:
        raise Conflict(
            f"{table} is built anew on SQLite, and columns that usermgr does not know would be "
            f"lost: {visible(', '.join(others))}",
            hint="move them to a table of their own, then run this again",
        )
