"""How strong the stored passwords are, and wrapping those that are below OWASP's minimum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, func, select

from usermgr.db.models import recycled_passwords, recycled_users, users
from usermgr.db.sql import instant
from usermgr.hash_limits import Argon2Costs
from usermgr.hashes.strength import Strength, assess
from usermgr.records import PasswordGroup
from usermgr.services.password_verification import StoredPassword

BATCH: Final = 2_000

_ADVICE: Final = {
    Strength.CURRENT: None,
    Strength.WEAKER: "replaced at the next right password",
    Strength.WRAPPED: "replaced at the next right password",
    Strength.LEGACY: "usermgr password strengthen",
    Strength.TOO_COSTLY: "usermgr user set-password: it is never verified",
    Strength.UNRECOGNISED: "usermgr user set-password: it is never verified",
    Strength.UNUSABLE: None,
}


@dataclass(slots=True)
class _Group:
    users: int = 0
    inactive: int = 0
    unchanged_since: datetime | None = None


def report_passwords(connection: Connection, costs: Argon2Costs) -> list[PasswordGroup]:
    """The users by strength and format, the strongest first; memory does not grow with them.

    ``unchanged_since`` is the earliest time of the last change of a user of the group: so old can a
    password be, though not everything that changes a user changes the password.
    """
    changed = instant(func.coalesce(users.c.updated_at, users.c.created_at))
    groups: dict[tuple[Strength, str], _Group] = {}
    for stored, active, at in _stream(connection, users.c.password, users.c.active, changed):
        found = assess(stored, costs)
        group = groups.setdefault((found.strength, found.format), _Group())
        group.users += 1
        group.inactive += not active
        group.unchanged_since = min(at, group.unchanged_since or at)
    order = list(Strength)
    return [
        PasswordGroup(
            strength=strength.value,
            format=name,
            users=group.users,
            inactive=group.inactive,
            unchanged_since=group.unchanged_since,
            advice=_ADVICE[strength],
        )
        for (strength, name), group in sorted(
            groups.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
        )
    ]


def count_legacy(connection: Connection, costs: Argon2Costs) -> Counter[str]:
    """How many hashes are below OWASP's minimum, by format."""
    found: Counter[str] = Counter()
    for (stored,) in _stream(connection, users.c.password):
        assessment = assess(stored, costs)
        if assessment.strength is Strength.LEGACY:
            found[assessment.format] += 1
    return found


def count_legacy_in_bin(connection: Connection, costs: Argon2Costs) -> int:
    """How many hashes in the recycle bin are below OWASP's minimum; they are never wrapped."""
    return sum(
        assess(stored, costs).strength is Strength.LEGACY
        for column in (recycled_users.c.password, recycled_passwords.c.password)
        for (stored,) in _stream(connection, column)
    )


def next_legacy(
    connection: Connection, costs: Argon2Costs, *, after: int, limit: int
) -> list[StoredPassword]:
    """The next users, by id, whose hash is below OWASP's minimum."""
    statement = (
        select(users.c.id, users.c.email, users.c.password)
        .where(users.c.id > after)
        .order_by(users.c.id)
        .execution_options(yield_per=BATCH)
    )
    batch: list[StoredPassword] = []
    with connection.execute(statement) as rows:
        for row in rows:
            if assess(row.password, costs).strength is Strength.LEGACY:
                batch.append(StoredPassword(*row))
                if len(batch) == limit:
                    break
    return batch


def _stream(connection: Connection, *columns: Any) -> Iterator[Any]:
    yield from connection.execute(select(*columns).execution_options(yield_per=BATCH))
