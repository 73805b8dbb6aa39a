"""${message}."""

from alembic import op
from sqlalchemy import text

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say in one sentence what the new revision holds."""
    ${upgrades if upgrades else "raise NotImplementedError"}


def downgrade() -> None:
    """Say in one sentence what is lost."""
    ${downgrades if downgrades else "raise NotImplementedError"}
