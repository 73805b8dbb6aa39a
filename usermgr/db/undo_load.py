"""Undoing a load: everybody who is stored was put in by one operation, and nobody was changed.

PostgreSQL only, in the caller's transaction. A load into empty tables is fast because no row is
looked up by a key; so is its undo, under an exclusive lock: the recycle bin's indexes are built
after it was filled, and no deleted user is looked for among the grants. That is done only where
nothing of an application is attached to the tables, so that nobody is waited for under the lock.
Rows are deleted and not truncated: whoever began to read before still sees them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text
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

_LOCKED: Final = (*rebuild.LOCKED, *_BIN)

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

_IS_OURS_ALONE: Final = text("""
    WITH ours AS (SELECT unnest(CAST(:tables AS regclass[])) AS id)
    SELECT NOT EXISTS (SELECT 1 FROM pg_class c JOIN ours ON ours.id = c.oid
            WHERE c.relrowsecurity OR c.relkind <> 'r')
        AND NOT EXISTS (SELECT 1 FROM pg_trigger t JOIN ours ON ours.id = t.tgrelid
            WHERE NOT t.tgisinternal)
        AND NOT EXISTS (SELECT 1 FROM pg_rewrite w JOIN ours ON ours.id = w.ev_class)
        AND NOT EXISTS (SELECT 1 FROM pg_inherits i
            JOIN ours ON ours.id IN (i.inhparent, i.inhrelid))
        AND NOT EXISTS (SELECT 1 FROM pg_constraint k JOIN ours ON ours.id = k.confrelid
            WHERE k.conrelid NOT IN (SELECT id FROM ours))
""")
"""Whether nothing of an application hides or adds rows, waits for something, or has a say when one
is deleted."""


def take_back(op: Operation, undone: int) -> int | None:
    """Delete all users if the operation put them in and nobody uses the tables now.

    Returns their number, or None where nothing was done.
    """
    connection, parameters = op.connection, {"undone": undone}
    if not rebuild.find_rights(connection, _LOCKED).rebuild:
        return None
    if not connection.execute(_ENDS, parameters).scalar():
        return None
    with savepoint(connection) as point:
        if rebuild.lock_if_free(connection, _LOCKED) and _may_go(connection, parameters):
            keys = rebuild.drop_keys(connection, _BIN)
            if keys is not None:
                return _delete_all(op, keys)
        point.rollback()
    return None


def _may_go(connection: Connection, parameters: dict[str, int]) -> bool:
    tables = {"tables": [table.name for table in _LOCKED]}
    return bool(
        connection.execute(_IS_OURS_ALONE, tables).scalar()
        and connection.execute(_IS_ALL, parameters).scalar()
        and not rebuild.find_altered(connection, (user_claims, *_BIN))
    )


def _delete_all(op: Operation, keys: list[rebuild.Key]) -> int:
    connection = op.connection
    connection.execute(DropConstraint(_CLAIMS_FK))
    changing.recycle(op, "true")
    connection.execute(text("DELETE FROM user_claims"))
    deleted = connection.execute(text("DELETE FROM users")).rowcount
    rebuild.build(connection, [*keys, _CLAIMS_FK], _BIN)
    return deleted
