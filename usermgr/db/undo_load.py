"""Undoing a load: everybody who is stored was put in by one operation, and nobody was changed.

PostgreSQL only, in the caller's transaction. A load into empty tables is fast because no row is
looked up by a key; so is its undo, under an exclusive lock: the recycle bin's indexes are built
after it was filled, and no deleted user is looked for among the grants. Rows are deleted one by one
all the same, and not with TRUNCATE, so that whoever began to read before still sees them, and an
application's keys and triggers have their say.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import DropConstraint

from usermgr.db import changing, rebuild
from usermgr.db.engine import Operation
from usermgr.db.models import recycled_grants, recycled_users, user_claims, users
from usermgr.db.savepoints import savepoint

WORTH: Final = 10_000
"""Fewer users are deleted sooner than keys are built; the tables stay open for others then."""

_BIN: Final = (recycled_grants, recycled_users)
_CLAIMS_FK: Final = next(
    key for key in user_claims.foreign_key_constraints if key.referred_table is users
)

_ENDS: Final = text("""
    SELECT NOT EXISTS (SELECT 1 FROM recycled_users) AND NOT EXISTS (SELECT 1 FROM recycled_grants)
        AND (SELECT created_in FROM users ORDER BY id LIMIT 1) = :undone
        AND (SELECT created_in FROM users ORDER BY id DESC LIMIT 1) = :undone
""")
"""Tells at once of most operations that they were no such load."""

_IS_ALL: Final = text("""
    SELECT NOT EXISTS (SELECT 1 FROM recycled_users) AND NOT EXISTS (SELECT 1 FROM recycled_grants)
        AND NOT EXISTS
            (SELECT 1 FROM users WHERE version <> 1 OR coalesce(created_in, 0) <> :undone)
        AND NOT EXISTS
            (SELECT 1 FROM changes WHERE operation_id = :undone AND entity = 'user')
""")


def take_back(op: Operation, undone: int) -> int | None:
    """Delete all users if the operation put them in and nobody uses the tables now.

    Returns their number, or None where nothing was done. Raises the driver's IntegrityError where
    an application's table refers to one.
    """
    connection, parameters = op.connection, {"undone": undone}
    locked = (*rebuild.LOCKED, *_BIN)
    if not rebuild.owns_tables(connection, locked):
        return None
    if not connection.execute(_ENDS, parameters).scalar():
        return None
    try:
        with savepoint(connection) as point:
            connection.execute(text(f"{rebuild.lock_statement(locked)} NOWAIT"))
            is_all = connection.execute(_IS_ALL, parameters).scalar()
            if is_all and not rebuild.find_altered(connection, (user_claims, *_BIN)):
                return _delete_all(op)
            point.rollback()
    except DBAPIError as error:
        if not rebuild.is_in_use(error):
            raise
    return None


def _delete_all(op: Operation) -> int:
    connection = op.connection
    keys = [*rebuild.drop_keys(connection, _BIN), _CLAIMS_FK]
    connection.execute(DropConstraint(_CLAIMS_FK))
    changing.recycle(op, "true")
    connection.execute(text("DELETE FROM user_claims"))
    deleted = connection.execute(text("DELETE FROM users")).rowcount
    rebuild.build(connection, keys, _BIN)
    return deleted
