"""Undoing what ``undo_finding`` found that an operation did to users, set by set.

``leave`` takes those out that cannot be undone, because they changed since or something that they
need is gone, and notes why. ``apply`` does the rest, ``bring_back`` only for deleted users.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, text

from usermgr.db import changing
from usermgr.db.engine import Operation
from usermgr.db.images import HASH_ONLY, content_sql, image_sql, salt_sql, value_sql
from usermgr.db.models import Instant
from usermgr.db.sql import own_ids
from usermgr.db.undo_finding import OWN, UNCHANGED, USERS

_GRANTS: Final = "usermgr_undo_grants"
_LEFT: Final = "usermgr_undo_left"
_CHOSEN: Final = "usermgr_undo_chosen"

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
    "was brought back since": """
        (t.kind = 'deleted' AND u.id IS NOT NULL)
        OR (t.kind = 'lost' AND EXISTS (SELECT 1 FROM recycled_users b
            WHERE b.id = t.user_id AND b.restored_in > :undone))
    """,
    "the recycle bin does not keep it any more": "t.kind = 'lost'",
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
    AND c.id > coalesce((SELECT o.change_id FROM {OWN} o WHERE o.user_id = t.user_id), 0)
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


def leave(op: Operation, undone: int) -> int:
    """Take those out that cannot be undone; returns how many these are."""
    connection, dialect = op.connection, op.connection.dialect.name
    _lock_bin(op)
    _find_grants(op)
    parts = {
        "email": value_sql(dialect, "text", "t.image", "email"),
        "role_id": value_sql(dialect, "text", "t.image", "role_id"),
        "grants": _GRANTS,
        "own": OWN,
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
        f" {reasons} END AS reason FROM {USERS} t LEFT JOIN users u ON u.id = t.user_id"
        " LEFT JOIN roles r ON r.id = u.role_id) found"
        " WHERE reason IS NOT NULL",
        {"undone": undone},
    )
    if number:
        connection.execute(
            text(f"DELETE FROM {USERS} WHERE user_id IN (SELECT user_id FROM {_LEFT})")
        )
    return number


def _lock_bin(op: Operation) -> None:
    """Of two who bring a user back the second one sees that somebody was faster."""
    if op.connection.dialect.name == "postgresql":
        op.connection.execute(
            text(
                "SELECT count(*) FROM (SELECT 1 FROM recycled_users WHERE (id, operation_id) IN"
                f" (SELECT user_id, bin FROM {USERS}) ORDER BY id FOR UPDATE) locked"
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
    deleted = changing.remove(op, UNCHANGED, record=False)
    deleted += sum(
        changing.remove(op, _CHOSEN, record=alone)
        for alone in (True, False)
        if _choose(op, f"kind = 'made' AND alone = {str(alone).lower()}")
    )
    changed = _change_back(op, undone) if _choose(op, "kind = 'changed'") else 0
    return {"deleted": deleted, "restored": bring_back(op), "changed": changed}


def bring_back(op: Operation) -> int:
    """Bring the deleted users back; returns their number."""
    return _restore(op) if _choose(op, "kind = 'deleted'") else 0


def _choose(op: Operation, condition: str) -> int:
    select = f"SELECT user_id, image, alone, bin FROM {USERS} WHERE {condition}"
    return changing.select_into(op, _CHOSEN, select, {})


def _find_grants(op: Operation) -> None:
    dialect = op.connection.dialect.name
    item = "e.value"
    changing.select_into(
        op,
        _GRANTS,
        _FIND_GRANTS.format(
            users=USERS,
            claim_id=value_sql(dialect, "text", item, "claim_id"),
            reason=value_sql(dialect, "text", item, "reason"),
            expires_at=value_sql(dialect, "instant", item, "expires_at"),
            no_instant="CAST(NULL AS timestamptz)" if dialect == "postgresql" else "NULL",
            grants=value_sql(dialect, "rows", "t.image", "grants"),
            claims=value_sql(dialect, "rows", "t.image", "claims"),
            has_grants=value_sql(dialect, "has", "t.image", "grants"),
            item=value_sql(dialect, "item", "", ""),
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
            key: value_sql(dialect, kind, "s.image", key)
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


def _same(dialect: str, one: str, other: str) -> str:
    """Whether two grants say the same."""
    sign = "IS NOT DISTINCT FROM" if dialect == "postgresql" else "IS"
    return " AND ".join(f"{one}.{name} {sign} {other}.{name}" for name in ("reason", "expires_at"))
