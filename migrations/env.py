"""Alembic's entry: runs the migrations on the connection that ``usermgr.db.schema`` hands over.

The caller owns the transaction: everything of one run commits or disappears together. On SQLite it
has given the connection the function usermgr_instant, which reads dates.
"""

from alembic import context

from usermgr.db.models import VERSION_TABLE


def run() -> None:
    """Run the migrations inside the caller's transaction."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, transactional_ddl=True, version_table=VERSION_TABLE)
    with context.begin_transaction():
        context.run_migrations()


run()
