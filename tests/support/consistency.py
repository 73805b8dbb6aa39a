"""What must be true of a database at every moment, whatever was killed or refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, select, text

from tests.support.databases import open_database
from usermgr.db.images import image_sql
from usermgr.db.models import (
    changes,
    claims,
    metadata,
    operations,
    recycled_users,
    roles,
    user_claims,
    users,
)

_in_the_bin = select(recycled_users.c.id).where(recycled_users.c.restored_in.is_(None))

UNSHOWN = ("rehash", "strengthen")
"""Changes of a password's hash only: their images are not the user's, whose version stays."""

_BROKEN = {
    "users whose operation is not there": """
        SELECT count(*) FROM users WHERE created_in IS NOT NULL
        AND created_in NOT IN (SELECT id FROM operations)
    """,
    "changes whose operation is not there": """
        SELECT count(*) FROM changes WHERE operation_id NOT IN (SELECT id FROM operations)
    """,
    "operations that changed nothing": """
        SELECT count(*) FROM operations o WHERE NOT EXISTS
        (SELECT 1 FROM changes c WHERE c.operation_id = o.id)
        AND NOT EXISTS (SELECT 1 FROM users u WHERE u.created_in = o.id)
        AND NOT EXISTS (SELECT 1 FROM recycled_users b
            WHERE o.id IN (b.operation_id, b.restored_in, b.created_in))
    """,
    "users that were deleted": """
        SELECT count(*) FROM users WHERE 0 < (
            SELECT sum(CASE action WHEN 'delete' THEN 1 WHEN 'restore' THEN -1 ELSE 0 END)
            FROM changes WHERE entity = 'user' AND entity_id = users.id)
    """,
    "users that are in the recycle bin": """
        SELECT count(*) FROM recycled_users b JOIN users u ON u.id = b.id
        WHERE b.restored_in IS NULL
    """,
    "users without a role": """
        SELECT count(*) FROM users WHERE role_id NOT IN (SELECT id FROM roles)
    """,
    "grants of nobody": """
        SELECT count(*) FROM user_claims WHERE user_id NOT IN (SELECT id FROM users)
        OR claim_id NOT IN (SELECT id FROM claims)
    """,
    "users whose version is not the number of their changes": """
        SELECT count(*) FROM users u WHERE u.version <> (
            SELECT count(*) + CASE WHEN EXISTS (
                SELECT 1 FROM changes c WHERE c.entity = 'user' AND c.entity_id = u.id
                AND c.action = 'create') THEN 0 ELSE 1 END
            FROM changes c WHERE c.entity = 'user' AND c.entity_id = u.id
            AND c.action NOT IN ('rehash', 'strengthen', 'delete', 'restore'))
    """,
    "e-mails that differ in case only": """
        SELECT count(*) - count(DISTINCT lower(email)) FROM users
    """,
}


def broken_promises(url: str) -> dict[str, Any]:
    """What is wrong in the database, with how often or what; empty when all is well."""
    database = open_database(url)
    with database.connect() as connection:
        found = {what: connection.execute(text(sql)).scalar_one() for what, sql in _BROKEN.items()}
        found["images that are not the rows"] = list(_untrue_images(connection))
        found["histories with a gap"] = list(_gaps(connection))
        found["counts that are not the changes"] = list(_untrue_counts(connection))
    database.engine.dispose()
    return {what: number for what, number in found.items() if number}


def content(url: str) -> dict[str, list[Any]]:
    """Everything of the users, roles and claims but what counts changes."""
    uncounted = {"version", "updated_at"}
    database = open_database(url)
    with database.connect() as connection:
        found = {
            table.name: [
                tuple(row)
                for row in connection.execute(
                    select(*(c for c in table.c if c.name not in uncounted)).order_by(
                        *table.primary_key
                    )
                )
            ]
            for table in (users, user_claims, roles, claims)
        }
    database.engine.dispose()
    return found


def stored_state(url: str) -> dict[str, list[Any]]:
    """Every row of every table."""
    database = open_database(url)
    with database.connect() as connection:
        found = {
            table.name: [
                tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))
            ]
            for table in metadata.sorted_tables
        }
    database.engine.dispose()
    return found


def _untrue_images(connection: Connection) -> Iterator[tuple[str, int]]:
    """Things whose row differs from what their last change says."""
    statement = select(
        changes.c.entity, changes.c.entity_id, changes.c.after, changes.c.action, changes.c.digest
    ).where(changes.c.action.not_in(UNSHOWN), changes.c.entity != "token")
    last = {
        (row.entity, row.entity_id): row.after
        for row in connection.execute(statement.order_by(changes.c.id))
        if row.digest is None and row.action != "erase"
    }
    present: dict[tuple[str, int], Any] = {}
    image = image_sql(connection.dialect.name)
    found = text(f"SELECT u.id, {image} FROM users u JOIN roles r ON r.id = u.role_id")
    for user_id, told in connection.execute(found):
        present["user", user_id] = json.loads(told) if isinstance(told, str) else told
    # Many who were deleted together have no change of their own for it.
    for user_id in connection.execute(_in_the_bin).scalars():
        last.pop(("user", user_id), None)
    for entity, table in (("role", roles), ("claim", claims)):
        for row in connection.execute(select(table)):
            present[entity, row.id] = dict(row._mapping)
    for key, after in last.items():
        if present.get(key) != after:
            yield key


def _gaps(connection: Connection) -> Iterator[int]:
    """Changes that did not begin with what the change before them left."""
    left: dict[tuple[str, int], Any] = {}
    for row in connection.execute(
        select(changes).where(changes.c.action.not_in(UNSHOWN)).order_by(changes.c.id)
    ):
        key = (row.entity, row.entity_id)
        if row.digest is not None or row.action == "erase":
            left.pop(key, None)
            continue
        # The last image of a user says what no longer stands in a row.
        before = {k: v for k, v in (row.before or {}).items() if k != "created_in"} or None
        if key in left and left[key] != before:
            yield row.id
        left[key] = row.after


def _untrue_counts(connection: Connection) -> Iterator[int]:
    """Operations whose counts are not those of their changes and of the users they created."""
    made: dict[int, Counter[str]] = {
        row.id: Counter() for row in connection.execute(select(operations.c.id))
    }
    created_in = {
        row.id: row.created_in
        for table in (recycled_users, users)
        for row in connection.execute(select(table.c.id, table.c.created_in))
    }
    told = set()
    for row in connection.execute(select(changes).order_by(changes.c.id.desc())):
        made[row.operation_id][f"{row.entity}.{row.action}"] += 1
        told.add((row.operation_id, row.entity, row.entity_id))
        if (row.entity, row.action) == ("user", "delete") and row.before:
            created_in[row.entity_id] = row.before["created_in"]
        if (row.entity, row.action) == ("user", "create"):
            created_in.pop(row.entity_id, None)
    # The others were created together, without a change of their own.
    for operation_id in created_in.values():
        made[operation_id]["user.create"] += 1
    for row in connection.execute(select(recycled_users)):
        for operation_id, action in ((row.operation_id, "delete"), (row.restored_in, "restore")):
            if operation_id and (operation_id, "user", row.id) not in told:
                made[operation_id][f"user.{action}"] += 1
    for op in connection.execute(select(operations.c.id, operations.c.counts)):
        # Grants that are made and taken with many users at once have no changes of their own.
        counts = {what: n for what, n in op.counts.items() if not what.startswith("grant.")}
        if counts != made[op.id]:
            yield op.id
