"""Undoing what an operation did to users, set by set.

``find`` notes which users are as the operation made them together with others: these are to be
deleted. In another temporary table it notes what is to be done with which other user:

    made      created or restored by the operation: to be deleted
    gone      created by the operation, and deleted since: another one may have its id by now
    changed   to get the image from before back
    deleted   in the recycle bin: to come back
    lost      deleted, and not in the bin any more, or brought back already
    erased    nothing is known of what was done to them any more
    hashed    only the hash of the password was replaced

``leave`` takes those out that cannot be undone, because they changed since or something that they
need is gone, and notes why. ``apply`` does the rest.

Directly after a large operation PostgreSQL's statistics do not know of it, and it seems to have one
row. So the operation's own changes are noted in a temporary table as well, which has an index. And
where rows are looked up user by user, ``operation_id + 0`` keeps the planner away from the index of
operations, and LIMIT from a join: either would go through all rows for every user.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, text

from usermgr.db import changing
from usermgr.db.engine import Operation
from usermgr.db.images import HASH_ONLY, content_sql, image_sql, salt_sql
from usermgr.db.models import Instant
from usermgr.db.sql import own_ids

_USERS: Final = "usermgr_undo"
_OWN: Final = "usermgr_undo_own"
_UNCHANGED: Final = "usermgr_undo_unchanged"
_GRANTS: Final = "usermgr_undo_grants"
_LEFT: Final = "usermgr_undo_left"
_CHOSEN: Final = "usermgr_undo_chosen"

_JSON: Final = {
    # A value of an image, and the rows of its lists.
    "postgresql": {
        "text": "({image} ->> '{key}')",
        "truth": "CAST({image} ->> '{key}' AS boolean)",
        "instant": "CAST({image} ->> '{key}' AS timestamptz)",
        "has": "jsonb_exists({image}, '{key}')",
        "rows": "jsonb_array_elements({image} -> '{key}') AS e (value)",
        "item": "(e.value #>> '{{}}')",
    },
    "sqlite": {
        "text": "json_extract({image}, '$.{key}')",
        "truth": "json_extract({image}, '$.{key}')",
        "instant": "replace(replace(json_extract({image}, '$.{key}'), 'T', ' '), 'Z', '')",
        "has": "(json_type({image}, '$.{key}') IS NOT NULL)",
        "rows": "json_each({image}, '$.{key}') AS e",
        "item": "e.value",
    },
}

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
        UNION SELECT user_id FROM {_OWN}
        UNION SELECT b.id FROM recycled_users b WHERE b.restored_in = :undone)
"""
_OTHERS: Final = (
    f"DELETE FROM {_UNCHANGED} WHERE version <> 1 OR coalesce(created_in, 0) <> :undone",
    f"DELETE FROM {_UNCHANGED} WHERE user_id IN (SELECT user_id FROM {_OWN})",
)
"""Whom more has to be known of than that they are as they were made."""

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
_CHANGE_OF: Final = f"(SELECT 1 FROM {_OWN} o WHERE o.user_id = {{}}.id)"
_FIND_GRANTS: Final = """
    SELECT t.user_id, CAST({claim_id} AS bigint) AS claim_id, {reason} AS reason,
        {expires_at} AS expires_at
    FROM {users} t, {grants} WHERE t.kind = 'changed' AND {has_grants}
    UNION ALL
    SELECT t.user_id, (SELECT c.id FROM claims c WHERE c.description = {item}), NULL, {no_instant}
    FROM {users} t, {claims} WHERE t.kind = 'changed' AND NOT {has_grants}
"""
"""Images of former revisions hold the names of claims only."""

_OBSTACLES: Final = {
    "was erased": """
        t.kind = 'erased' OR t.user_id IN (SELECT e.entity_id FROM changes e
            WHERE e.entity = 'user' AND e.action = 'erase')
    """,
    "only a new password takes its new hash back": "t.kind = 'hashed'",
    "was deleted since": """
        t.kind = 'gone' OR (t.kind IN ('made', 'changed') AND (u.id IS NULL
            OR EXISTS (SELECT 1 FROM recycled_users b WHERE b.id = t.user_id
                AND b.operation_id > :undone AND b.restored_in IS NULL)))
    """,
    "was changed since": """
        t.kind IN ('made', 'changed') AND u.version <> t.version
        AND (coalesce({now} <> {then}, true) OR {other_hash} OR {lost_hash})
    """,
    "was brought back, or the recycle bin does not keep it any more": """
        t.kind = 'lost' OR (t.kind = 'deleted' AND u.id IS NOT NULL)
    """,
    "its former e-mail is taken": """
        (t.kind = 'deleted' AND EXISTS (SELECT 1 FROM users o WHERE o.email = t.email))
        OR (t.kind = 'changed' AND EXISTS (SELECT 1 FROM users o
            WHERE o.email = {email} AND o.id <> t.user_id))
    """,
    "its former role is gone": """
        (t.kind = 'deleted' AND NOT EXISTS (SELECT 1 FROM recycled_users b
            JOIN roles r ON r.id = b.role_id WHERE b.id = t.user_id AND b.operation_id + 0 = t.bin))
        OR (t.kind = 'changed' AND NOT EXISTS (SELECT 1 FROM roles r
            WHERE r.id = CAST({role_id} AS integer)))
    """,
    "a claim that it held is gone": """
        (t.kind = 'deleted' AND EXISTS (SELECT 1 FROM recycled_grants g
            WHERE g.user_id = t.user_id AND g.operation_id = t.bin
            AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.id = g.claim_id)))
        OR (t.kind = 'changed' AND EXISTS (SELECT 1 FROM {grants} g WHERE g.user_id = t.user_id
            AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.id = g.claim_id)))
    """,
    "the password that was replaced is not kept any more": """
        t.kind = 'changed'
        AND (SELECT o.sets_password FROM {own} o WHERE o.user_id = t.user_id) = 1
        AND NOT EXISTS (SELECT 1 FROM recycled_passwords p
            WHERE p.operation_id + 0 = :undone AND p.user_id = t.user_id)
    """,
}
"""Why a user cannot be undone: the first one that is true is told."""

_LATER: Final = f"""
    c.entity = 'user' AND c.entity_id = t.user_id
    AND c.id > coalesce((SELECT o.change_id FROM {_OWN} o WHERE o.user_id = t.user_id), 0)
    AND (t.alone OR t.version = 1 OR c.operation_id + 0 > :undone)
"""
"""Changes tell what came later, because they are written while the user is locked; operations get
their ids before. Without a change of its own a creation was the first; a return, which has none
either, was an operation that saw the ones before it."""

_AS_IT_WAS: Final = f"""
    coalesce((SELECT {{after}} FROM changes c WHERE c.operation_id + 0 = :undone
        AND c.entity = 'user' AND c.entity_id = t.user_id AND c.after IS NOT NULL
        AND c.action NOT IN {{hash_only}}),
    (SELECT {{before}} FROM changes c WHERE {_LATER} AND c.before IS NOT NULL
        AND c.action NOT IN {{hash_only}} ORDER BY c.id LIMIT 1))
"""
"""What the operation left: later changes may have been undone, which counts the version up. NULL
where no change tells: then another program has changed the user."""

_OTHER_HASH: Final = f"""
    coalesce((SELECT p.password <> u.password FROM changes c JOIN recycled_passwords p
        ON p.user_id = c.entity_id AND p.operation_id + 0 = c.operation_id
        WHERE {_LATER} ORDER BY c.id LIMIT 1), false)
"""
_LOST_HASH: Final = f"""
    EXISTS (SELECT 1 FROM changes c WHERE {_LATER} AND c.action = 'set-password'
        AND NOT EXISTS (SELECT 1 FROM recycled_passwords p
            WHERE p.user_id = t.user_id AND p.operation_id + 0 = c.operation_id))
"""
_RECYCLED: Final = "name, email, password, role_id, created_at, updated_at, active, version"


class Left(NamedTuple):
    """A user whom the undo leaves as it is, and why."""

    id: int
    name: str
    reason: str


def find(op: Operation, undone: int, same: Sequence[int]) -> int:
    """Lock the users that the operation touched, and note what it did to them; returns to how many.

    ``same`` are the operation, and those that did the same again by undoing its undos: who was
    deleted lies in the bin of the last one.
    """
    dialect = op.connection.dialect.name
    has_own = _find_own(op, {"undone": undone})
    unchanged = _find_unchanged(op, undone, has_own)
    return unchanged + changing.select_into(
        op,
        _USERS,
        _FIND.format(
            after_version=_value(dialect, "text", "c.after", "version"),
            is_image=_value(dialect, "has", "c.before", "email"),
            same=f"({', '.join(map(str, same))})",
            change_of_u=_CHANGE_OF.format("u"),
            change_of_b=_CHANGE_OF.format("b"),
        ),
        {"undone": undone},
    )


def find_deleted(op: Operation, operation_id: int, user_id: int) -> None:
    """Note one user that the operation deleted, to come back."""
    _find_own(op, {"undone": operation_id, "user": user_id}, "entity_id = :user")
    changing.select_into(op, _UNCHANGED, "SELECT id AS user_id FROM users WHERE false", {})
    changing.select_into(
        op,
        _USERS,
        "SELECT id AS user_id, email, 'deleted' AS kind, true AS alone,"
        " CAST(NULL AS integer) AS version, {} AS image, operation_id AS bin FROM recycled_users"
        " WHERE operation_id = :operation AND id = :user AND restored_in IS NULL".format(
            "CAST(NULL AS jsonb)" if op.connection.dialect.name == "postgresql" else "NULL"
        ),
        {"operation": operation_id, "user": user_id},
    )


def _find_own(op: Operation, parameters: dict[str, object], which: str = "true") -> bool:
    number = changing.select_into(op, _OWN, _FIND_OWN.format(which=which), parameters)
    op.connection.execute(text(f"CREATE UNIQUE INDEX {_OWN}_un ON {_OWN} (user_id)"))
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
        op, _UNCHANGED, _TOUCHED.format(which=which, lock=lock), parameters
    )
    return number - sum(
        op.connection.execute(text(others), parameters).rowcount for others in _OTHERS
    )


def leave(op: Operation, undone: int) -> int:
    """Take those out that cannot be undone; returns how many these are."""
    connection, dialect = op.connection, op.connection.dialect.name
    _lock_bin(op)
    _find_grants(op)
    parts = {
        "email": _value(dialect, "text", "t.image", "email"),
        "role_id": _value(dialect, "text", "t.image", "role_id"),
        "grants": _GRANTS,
        "own": _OWN,
        "now": content_sql(dialect, image_sql(dialect)),
        "then": _AS_IT_WAS.format(
            before=content_sql(dialect, "c.before"),
            after=content_sql(dialect, "c.after"),
            hash_only=HASH_ONLY,
        ),
        "other_hash": _OTHER_HASH,
        "lost_hash": _LOST_HASH,
    }
    reasons = " ".join(
        f"WHEN {condition.format(**parts)} THEN '{reason}'"
        for reason, condition in _OBSTACLES.items()
    )
    number = changing.select_into(
        op,
        _LEFT,
        "SELECT * FROM (SELECT t.user_id, t.email, CASE"
        f" {reasons} END AS reason FROM {_USERS} t LEFT JOIN users u ON u.id = t.user_id"
        " LEFT JOIN roles r ON r.id = u.role_id) found"
        " WHERE reason IS NOT NULL",
        {"undone": undone},
    )
    if number:
        connection.execute(
            text(f"DELETE FROM {_USERS} WHERE user_id IN (SELECT user_id FROM {_LEFT})")
        )
    return number


def _lock_bin(op: Operation) -> None:
    """Of two who bring a user back the second one sees that somebody was faster."""
    if op.connection.dialect.name == "postgresql":
        op.connection.execute(
            text(
                "SELECT count(*) FROM (SELECT 1 FROM recycled_users WHERE (id, operation_id) IN"
                f" (SELECT user_id, bin FROM {_USERS}) ORDER BY id FOR UPDATE) locked"
            )
        )


def lock_operation(connection: Connection, operation_id: int) -> None:
    """Of two undos of one operation the second sees what the first one did.

    Locking its row would need the right to change the history.
    """
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))")
        connection.execute(lock, {"what": f"usermgr undo {operation_id}"})


def find_left(connection: Connection) -> Iterator[Left]:
    """The users that are left, by id."""
    statement = text(f"SELECT user_id, email, reason FROM {_LEFT} ORDER BY user_id")
    for row in connection.execute(statement, execution_options={"yield_per": 5_000}):
        yield Left(*row)


def apply(op: Operation, undone: int) -> dict[str, int]:
    """Undo the rest; returns the numbers of users that were deleted, restored and changed back."""
    # Deleting comes first: an e-mail may have gone from one user to another.
    deleted = changing.remove(op, _UNCHANGED, record=False) if _has_rows(op, _UNCHANGED) else 0
    deleted += sum(
        changing.remove(op, _CHOSEN, record=alone)
        for alone in (True, False)
        if _choose(op, f"kind = 'made' AND alone = {str(alone).lower()}")
    )
    changed = _change_back(op, undone) if _choose(op, "kind = 'changed'") else 0
    restored = _restore(op) if _choose(op, "kind = 'deleted'") else 0
    return {"deleted": deleted, "restored": restored, "changed": changed}


def _has_rows(op: Operation, table: str) -> bool:
    return bool(op.connection.execute(text(f"SELECT EXISTS (SELECT 1 FROM {table})")).scalar())


def _choose(op: Operation, condition: str) -> int:
    select = f"SELECT user_id, image, alone, bin FROM {_USERS} WHERE {condition}"
    return changing.select_into(op, _CHOSEN, select, {})


def _find_grants(op: Operation) -> None:
    dialect = op.connection.dialect.name
    item = "e.value"
    changing.select_into(
        op,
        _GRANTS,
        _FIND_GRANTS.format(
            users=_USERS,
            claim_id=_value(dialect, "text", item, "claim_id"),
            reason=_value(dialect, "text", item, "reason"),
            expires_at=_value(dialect, "instant", item, "expires_at"),
            no_instant="CAST(NULL AS timestamptz)" if dialect == "postgresql" else "NULL",
            grants=_value(dialect, "rows", "t.image", "grants"),
            claims=_value(dialect, "rows", "t.image", "claims"),
            has_grants=_value(dialect, "has", "t.image", "grants"),
            item=_JSON[dialect]["item"].format(),
        ),
        {},
    )
    op.connection.execute(text(f"CREATE INDEX {_GRANTS}_idx ON {_GRANTS} (user_id)"))


def _change_back(op: Operation, undone: int) -> int:
    connection, dialect = op.connection, op.connection.dialect.name
    parameters = {"undone": undone, "operation": op.id}
    same = (
        f"SELECT 1 FROM {_GRANTS} g WHERE g.user_id = user_claims.user_id"
        " AND g.claim_id = user_claims.claim_id AND {}"
    ).format(_same(dialect, "g", "user_claims"))
    with changing.recorded(op, _CHOSEN, "undo"):
        connection.execute(
            text(f"""
                INSERT INTO recycled_passwords (operation_id, user_id, password)
                SELECT :operation, u.id, u.password FROM users u
                JOIN {_CHOSEN} s ON s.user_id = u.id JOIN recycled_passwords p
                    ON p.user_id = u.id AND p.operation_id + 0 = :undone
            """),
            parameters,
        )
        values = {
            key: _value(dialect, kind, "s.image", key)
            for key, kind in (
                ("name", "text"),
                ("email", "text"),
                ("role_id", "text"),
                ("active", "truth"),
            )
        }
        changed = connection.execute(
            text(f"""
                UPDATE users SET name = {values["name"]}, email = {values["email"]},
                    role_id = CAST({values["role_id"]} AS integer), active = {values["active"]},
                    password = coalesce((SELECT p.password FROM recycled_passwords p WHERE
                        p.user_id = users.id AND p.operation_id + 0 = :undone), users.password),
                    version = users.version + 1, updated_at = :now
                FROM {_CHOSEN} s WHERE s.user_id = users.id
            """).bindparams(bindparam("now", op.started_at, Instant())),
            {"undone": undone},
        ).rowcount
        connection.execute(
            text(
                f"DELETE FROM user_claims WHERE user_id IN (SELECT user_id FROM {_CHOSEN})"
                f" AND NOT EXISTS ({same})"
            )
        )
        connection.execute(
            text(f"""
                INSERT INTO user_claims (user_id, claim_id, reason, expires_at)
                SELECT g.user_id, g.claim_id, g.reason, g.expires_at FROM {_GRANTS} g
                JOIN {_CHOSEN} s ON s.user_id = g.user_id
                WHERE NOT EXISTS (SELECT 1 FROM user_claims h
                    WHERE h.user_id = g.user_id AND h.claim_id = g.claim_id)
            """)
        )
    return changed


def _restore(op: Operation) -> int:
    connection, dialect = op.connection, op.connection.dialect.name
    columns = f"id, {_RECYCLED}, created_in"
    restored = connection.execute(
        text(f"""
            INSERT INTO users ({columns}) {own_ids(connection)} SELECT {columns} FROM recycled_users
            WHERE (id, operation_id) IN (SELECT user_id, bin FROM {_CHOSEN}) ORDER BY id
        """)
    ).rowcount
    connection.execute(
        text(f"""
            INSERT INTO user_claims (user_id, claim_id, reason, expires_at)
            SELECT user_id, claim_id, reason, expires_at FROM recycled_grants
            WHERE (user_id, operation_id) IN (SELECT user_id, bin FROM {_CHOSEN})
            ORDER BY user_id, claim_id
        """)
    )
    for statement in (
        f"""
            UPDATE recycled_users SET restored_in = :operation
            WHERE (id, operation_id) IN (SELECT user_id, bin FROM {_CHOSEN})
        """,
        f"""
            INSERT INTO changes (operation_id, entity, entity_id, name, action, "after", salt)
            SELECT :operation, 'user', u.id, u.email, 'restore', {image_sql(dialect)},
                {salt_sql(dialect)}
            FROM {_CHOSEN} s JOIN users u ON u.id = s.user_id JOIN roles r ON r.id = u.role_id
            WHERE s.alone ORDER BY u.id
        """,
    ):
        connection.execute(text(statement), {"operation": op.id})
    return restored


def _value(dialect: str, kind: str, image: str, key: str) -> str:
    return _JSON[dialect][kind].format(image=image, key=key)


def _same(dialect: str, one: str, other: str) -> str:
    """Whether two grants say the same."""
    sign = "IS NOT DISTINCT FROM" if dialect == "postgresql" else "IS"
    return " AND ".join(f"{one}.{name} {sign} {other}.{name}" for name in ("reason", "expires_at"))
