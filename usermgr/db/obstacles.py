"""Rows of the challenge's tables that the keys of revision 0002 would not accept.

Nothing is changed here: ``usermgr.db.adopt_rows`` merges roles and claims where that was asked for.
Statements run on both databases and on tables that lack any constraint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from usermgr.db.adopt_sqlite import value_problems
from usermgr.errors import Conflict
from usermgr.names import visible

Row = dict[str, Any]
SHOWN = 100

_REQUIRED = {
    "roles": ("id", "description"),
    "claims": ("id", "description", "active"),
    "users": ("id", "name", "email", "password", "created_at"),
}
_NO_ROLE = """
    SELECT u.id, u.email, u.role_id FROM users u LEFT JOIN roles r ON r.id = u.role_id
    WHERE r.id IS NULL ORDER BY u.id
"""
_NO_PARTNER = """
    SELECT g.user_id, g.claim_id FROM user_claims g
    LEFT JOIN users u ON u.id = g.user_id LEFT JOIN claims c ON c.id = g.claim_id
    WHERE u.id IS NULL OR c.id IS NULL ORDER BY g.user_id, g.claim_id
"""
REPEATED_GRANTS = """
    SELECT user_id, claim_id, count(*) AS rows FROM user_claims
    GROUP BY user_id, claim_id HAVING count(*) > 1 ORDER BY user_id, claim_id
"""
_BAD_DATES = {
    "sqlite": """
        SELECT id, CAST(created_at AS text) AS created_at, CAST(updated_at AS text) AS updated_at
        FROM users WHERE created_at NOTNULL AND usermgr_instant(created_at) IS NULL
        OR updated_at NOTNULL AND usermgr_instant(updated_at) IS NULL ORDER BY id
    """,
    # Python's dates, and so this program's, end at the year 9999 and know no infinity.
    "postgresql": """
        SELECT id, CAST(created_at AS varchar), CAST(updated_at AS varchar) FROM users
        WHERE created_at NOT BETWEEN '0001-01-02' AND '9999-12-30'
        OR updated_at NOT BETWEEN '0001-01-02' AND '9999-12-30'
        ORDER BY id
    """,
}
_SHARED_EMAILS = """
    WITH addresses AS (
        SELECT u.id, CAST(u.email AS varchar) AS stored,
            coalesce(n.value, CAST(u.email AS varchar)) AS value
        FROM users u
        LEFT JOIN usermgr_canonical n ON n.entity = 'user' AND n.field = 'email' AND n.id = u.id
    )
    SELECT value, id, stored FROM addresses
    WHERE value IN (SELECT value FROM addresses GROUP BY value HAVING count(*) > 1)
    ORDER BY value, id
"""


class Merge(NamedTuple):
    """Which names that differ only in case or outer spaces shall be joined."""

    roles: bool = False
    claims: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """One row of a group: its id and the text it holds."""

    id: int
    stored: str


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that would be the same, in the order of their ids."""

    value: str
    rows: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows of one kind that only their owner can put in order."""

    sentence: str
    noun: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What stands in the way, by kind."""

    emails: tuple[Group, ...]
    roles: tuple[Group, ...]
    claims: tuple[Group, ...]
    grants: tuple[Row, ...]
    problems: tuple[Problem, ...]


def find_wrong_values(connection: Connection, claim_name: str) -> Obstacles:
    """Look for values that their columns cannot keep; on SQLite any value stands in any column."""
    found = value_problems(claim_name) if connection.dialect.name == "sqlite" else []
    problems = (
        Problem(sentence, noun, find_rows(connection, statement))
        for sentence, noun, statement in found
    )
    return Obstacles((), (), (), (), tuple(problem for problem in problems if problem.rows))


def find_obstacles(connection: Connection, claim_name: str) -> Obstacles:
    """Look for rows in the way; ``claim_name`` is the column that holds the claims' names.

    Reads the canonical forms from the temporary table ``usermgr_canonical``.
    """
    return Obstacles(
        emails=_groups(connection, _SHARED_EMAILS),
        roles=_groups(connection, _repeated_names(connection, "role", "description")),
        claims=_groups(connection, _repeated_names(connection, "claim", claim_name)),
        grants=find_rows(connection, REPEATED_GRANTS),
        problems=tuple(problem for problem in _problems(connection, claim_name) if problem.rows),
    )


def require_free_way(found: Obstacles, database: str, merge: Merge) -> None:
    """Raise Conflict with every row in the way, except those that merging takes care of."""
    told = [Told("emails", "e-mails of several users", _group_lines("e-mail", found.emails))]
    if not merge.roles:
        told.append(Told("roles", "repeated role names", _group_lines("role", found.roles)))
    if not merge.claims:
        told.append(Told("claims", "repeated claim names", _group_lines("claim", found.claims)))
        told.append(Told("grants", "repeated grants", _row_lines("grant", found.grants)))
    told += [
        Told("problems", problem.sentence, _row_lines(problem.noun, problem.rows))
        for problem in found.problems
    ]
    told = [each for each in told if each.lines]
    if told:
        kinds = {each.kind for each in told}
        details = {kind: asdict(found)[kind] for kind in sorted(kinds)}
        raise Conflict(_message(database, told), hint=_hint(kinds), details=details)


def _problems(connection: Connection, claim_name: str) -> Iterator[Problem]:
    for kind, columns in _REQUIRED.items():
        for name in columns:
            field = claim_name if (kind, name) == ("claims", "description") else name
            empty = f"SELECT id FROM {kind} WHERE {field} IS NULL"
            yield Problem(f"rows of {kind} without {field}", kind, find_rows(connection, empty))
        repeated = f"SELECT id FROM {kind} GROUP BY id HAVING count(*) > 1 ORDER BY id"
        yield Problem(f"repeated ids of {kind}", kind, find_rows(connection, repeated))
    for sentence, noun, statement in (
        ("users whose role does not exist", "user", _NO_ROLE),
        ("grants of a user or claim that does not exist", "grant", _NO_PARTNER),
        ("users with a date that cannot be read", "user", _BAD_DATES[connection.dialect.name]),
    ):
        yield Problem(sentence, noun, find_rows(connection, statement))


def _repeated_names(connection: Connection, entity: str, field: str) -> str:
    fold = "usermgr_lower" if connection.dialect.name == "sqlite" else "lower"
    return f"""
        WITH names AS (
            SELECT l.id, CAST(l.{field} AS varchar) AS stored,
                {fold}(coalesce(n.value, CAST(l.{field} AS varchar))) AS value
            FROM {entity}s l LEFT JOIN usermgr_canonical n ON n.entity = '{entity}' AND n.id = l.id
        )
        SELECT value, id, stored FROM names
        WHERE value IN (SELECT value FROM names GROUP BY value HAVING count(*) > 1)
        ORDER BY value, id
    """


def _groups(connection: Connection, statement: str) -> tuple[Group, ...]:
    rows = connection.execute(text(statement)).all()
    return tuple(
        Group(value, tuple(Member(row.id, row.stored) for row in members))
        for value, members in groupby(rows, key=lambda row: row.value)
    )


def find_rows(connection: Connection, statement: str) -> tuple[Row, ...]:
    """The rows of a query."""
    return tuple(dict(row) for row in connection.execute(text(statement)).mappings())


@dataclass(frozen=True, slots=True)
class Told:
    """One kind of obstacle in a message: what it is called, and one line for each case."""

    kind: str
    sentence: str
    lines: list[str]


def _message(database: str, told: list[Told]) -> str:
    summary = "; ".join(f"{each.sentence}: {len(each.lines)}" for each in told)
    lines = [f"  {line}" for each in told for line in each.lines]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"  and {len(lines) - SHOWN} more, which -o json lists"]
    return f'the rows of "{database}" must be put in order first: {summary}\n' + "\n".join(lines)


def _hint(kinds: set[str]) -> str:
    hints = []
    if kinds & {"emails", "problems"}:
        hints.append("change or delete these rows with a SQL client, then run this again")
    if "roles" in kinds:
        hints.append("usermgr schema init --merge-roles joins roles of one name")
    if kinds & {"claims", "grants"}:
        hints.append("usermgr schema init --merge-claims joins claims of one name, and grants")
    return "; ".join(hints)


def _group_lines(noun: str, groups: tuple[Group, ...]) -> list[str]:
    return [
        f'{noun} "{visible(group.value)}": '
        + ", ".join(f'id {row.id} "{visible(row.stored)}"' for row in group.rows)
        for group in groups
    ]


def _row_lines(noun: str, rows: tuple[Row, ...]) -> list[str]:
    return [
        f"{noun}: " + ", ".join(f"{name} {visible(str(value))}" for name, value in row.items())
        for row in rows
    ]
