"""What an operation did to users, noted in temporary tables for its undo.

``find`` locks the users that the operation touched, and notes which of them are as it made them
together with others (``UNCHANGED``): these are to be deleted. In another table (``USERS``) it notes
what is to be done with which other user:

    made      created or restored by the operation: to be deleted
    gone      created by the operation, and deleted since: another one may have its id by now
    changed   to get the image from before back
    deleted   in the recycle bin: to come back
    lost      deleted, and not in the bin any more, or brought back already
    erased    nothing is known of what was done to them any more
    hashed    only the hash of the password was replaced

Directly after a large operation PostgreSQL's statistics do not know of it, and it seems to have one
row. So the operation's own changes are noted in a table as well (``OWN``), which has an index. And
where rows are looked up user by user, ``operation_id + 0`` keeps the planner away from the index of
operations, and LIMIT from a join: either would go through all rows for every user.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text

from usermgr.db import changing
from usermgr.db.engine import Operation
from usermgr.db.images import value_sql

USERS: Final = "usermgr_undo"
OWN: Final = "usermgr_undo_own"
UNCHANGED: Final = "usermgr_undo_unchanged"

_FIND_OWN: Final = """
    SELECT entity_id AS user_id, max(id) AS change_id,
        max(CASE action WHEN 'set-password' THEN 1 ELSE 0 END) AS sets_password
    FROM changes WHERE operation_id = :undone AND entity = 'user' AND {which} GROUP BY entity_id
"""
_LOCK: Final = {"postgresql": "FOR UPDATE OF u", "sqlite": ""}

_TOUCHED: Final = """
    SELECT u.id AS user_id, u.version, u.created_in FROM users u WHERE {which} ORDER BY u.id {lock}
"""
_MADE: Final = "u.created_in = :undone"
_MADE_OR_ELSE: Final = f"""
    u.id IN (SELECT m.id FROM users m WHERE m.created_in = :undone
        UNION SELECT user_id FROM {OWN}
        UNION SELECT b.id FROM recycled_users b WHERE b.restored_in = :undone)
"""
_NOT_UNCHANGED: Final = (
    f"DELETE FROM {UNCHANGED} WHERE version <> 1 OR coalesce(created_in, 0) <> :undone",
    f"DELETE FROM {UNCHANGED} WHERE user_id IN (SELECT user_id FROM {OWN})",
)
"""Statements that leave the users to whom something else was done to the other table."""

_FIND: Final = """
    SELECT c.entity_id AS user_id, c.name AS email, 'made' AS kind, true AS alone,
        CAST({after_version} AS integer) AS version, c.after AS image, CAST(NULL AS bigint) AS bin
    FROM changes c WHERE c.operation_id = :undone AND c.entity = 'user'
        AND c.before IS NULL AND c.after IS NOT NULL
    UNION ALL SELECT u.id, u.email, 'made', false, 1, NULL, NULL FROM users u
    WHERE u.created_in = :undone AND u.version <> 1 AND NOT EXISTS {change_of_u}
    UNION ALL SELECT b.id, b.email, 'made', false, b.version, NULL, NULL FROM recycled_users b
    WHERE b.restored_in = :undone AND NOT EXISTS {change_of_b}
    UNION ALL SELECT b.id, b.email, 'gone', false, NULL, NULL, NULL FROM recycled_users b
    WHERE b.created_in = :undone AND b.restored_in IS NULL AND NOT EXISTS {change_of_b}
    UNION ALL SELECT c.entity_id, c.name, 'changed', true,
        CAST({after_version} AS integer), c.before, NULL
    FROM changes c WHERE c.operation_id = :undone AND c.entity = 'user'
        AND c.before IS NOT NULL AND c.after IS NOT NULL AND {is_image}
    UNION ALL SELECT b.id, b.email, 'deleted', EXISTS {change_of_b}, NULL, NULL, b.operation_id
    FROM recycled_users b WHERE b.operation_id IN {same} AND b.restored_in IS NULL
    UNION ALL SELECT c.entity_id, c.name, 'lost', true, NULL, NULL, NULL FROM changes c
    WHERE c.operation_id = :undone AND c.entity = 'user' AND c.before IS NOT NULL
        AND c.after IS NULL AND (SELECT 1 FROM recycled_users b WHERE b.operation_id + 0 IN {same}
            AND b.id = c.entity_id AND b.restored_in IS NULL LIMIT 1) IS NULL
    UNION ALL SELECT b.id, b.email, 'lost', false, NULL, NULL, NULL FROM recycled_users b
    WHERE b.operation_id = :undone AND b.restored_in IS NOT NULL AND NOT EXISTS {change_of_b}
        AND (SELECT 1 FROM recycled_users a WHERE a.operation_id + 0 IN {same}
            AND a.id = b.id AND a.restored_in IS NULL LIMIT 1) IS NULL
    UNION ALL SELECT c.entity_id, coalesce(u.email, ''), 'erased', true, NULL, NULL, NULL
    FROM changes c LEFT JOIN users u ON u.id = c.entity_id
    WHERE c.operation_id = :undone AND c.entity = 'user' AND c.digest IS NOT NULL
    UNION ALL SELECT c.entity_id, c.name, 'hashed', true, NULL, NULL, NULL FROM changes c
    WHERE c.operation_id = :undone AND c.entity = 'user'
        AND c.before IS NOT NULL AND c.after IS NOT NULL AND NOT {is_image}
"""
_CHANGE_OF: Final = f"(SELECT 1 FROM {OWN} o WHERE o.user_id = {{}}.id)"


def find(op: Operation, undone: int, same: Sequence[int]) -> int:
    """Lock the users that the operation touched, and note what it did to them; returns to how many.

    ``same`` are the operation, and those that did the same again by undoing its undos: who was
    deleted lies in the bin of the last one.
    """
    dialect = op.connection.dialect.name
    # Before the lock: nobody adds to the history of an operation that has ended.
    has_own = _find_own(op, {"undone": undone})
    unchanged = _find_unchanged(op, undone, has_own)
    return unchanged + changing.select_into(
        op,
        USERS,
        _FIND.format(
            after_version=value_sql(dialect, "text", "c.after", "version"),
            is_image=value_sql(dialect, "has", "c.before", "email"),
            same=f"({', '.join(map(str, same))})",
            change_of_u=_CHANGE_OF.format("u"),
            change_of_b=_CHANGE_OF.format("b"),
        ),
        {"undone": undone},
    )


def find_deleted(op: Operation, operation_id: int, user_id: int) -> None:
    """Note one user that the operation deleted, to come back."""
    _find_own(op, {"undone": operation_id, "user": user_id}, "entity_id = :user")
    changing.select_into(
        op,
        USERS,
        "SELECT id AS user_id, email, 'deleted' AS kind, true AS alone,"
        " CAST(NULL AS integer) AS version, {} AS image, operation_id AS bin FROM recycled_users"
        " WHERE operation_id = :operation AND id = :user AND restored_in IS NULL".format(
            "CAST(NULL AS jsonb)" if op.connection.dialect.name == "postgresql" else "NULL"
        ),
        {"operation": operation_id, "user": user_id},
    )


def _find_own(op: Operation, parameters: dict[str, object], which: str = "true") -> bool:
    number = changing.select_into(op, OWN, _FIND_OWN.format(which=which), parameters)
    op.connection.execute(text(f"CREATE UNIQUE INDEX {OWN}_un ON {OWN} (user_id)"))
    return number > 0


def _find_unchanged(op: Operation, undone: int, has_own: bool) -> int:
    """Lock all the users in the order of their ids, as everybody does, and note those that are as
    the operation made them together with others; returns how many these are."""
    parameters: dict[str, object] = {"undone": undone}
    restored = text("SELECT EXISTS (SELECT 1 FROM recycled_users WHERE restored_in = :undone)")
    more = has_own or op.connection.execute(restored, parameters).scalar()
    which = _MADE_OR_ELSE if more else _MADE
    lock = _LOCK[op.connection.dialect.name]
    number = changing.select_into(
        op, UNCHANGED, _TOUCHED.format(which=which, lock=lock), parameters
    )
    return number - sum(
        op.connection.execute(text(others), parameters).rowcount for others in _NOT_UNCHANGED
    )
