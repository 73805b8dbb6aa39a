"""The four tables of the challenge, as it published them for PostgreSQL."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKeyConstraint,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    String,
    UniqueConstraint,
    true,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite counts ids only in a column that is declared INTEGER.
BIG_ID = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Create roles, claims, users and user_claims."""
    op.create_table(
        "roles",
        Column("id", Integer, Identity(always=True), nullable=False),
        Column("description", String, nullable=False),
        PrimaryKeyConstraint("id", name="roles_pk"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "claims",
        Column("id", BIG_ID, Identity(always=True), nullable=False),
        Column("description", String, nullable=False),
        Column("active", Boolean, nullable=False, server_default=true()),
        PrimaryKeyConstraint("id", name="claims_pk"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "users",
        Column("id", BIG_ID, Identity(always=True), nullable=False),
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
    op.create_table(
        "user_claims",
        Column("user_id", BIG_ID, nullable=False),
        Column("claim_id", BIG_ID, nullable=False),
        UniqueConstraint("user_id", "claim_id", name="user_claims_un"),
        ForeignKeyConstraint(["user_id"], ["users.id"], name="user_claims_fk"),
        ForeignKeyConstraint(["claim_id"], ["claims.id"], name="user_claims_fk_1"),
    )


def downgrade() -> None:
    """Drop the four tables with everything in them."""
    for table in ("user_claims", "users", "claims", "roles"):
        op.drop_table(table)
