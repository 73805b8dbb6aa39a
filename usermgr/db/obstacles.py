"""Rows of the challenge's tables that the keys of revision 0002 would not accept.

``find_obstacles`` only looks. ``resolve_obstacles`` merges roles and claims where that was asked
for, and makes e-mails canonical. Statements here run on both databases and on tables that lack any
constraint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import BigInteger, Connection, String, column, insert, table, text

from usermgr.emails import lenient_email
from usermgr.errors import Conflict
from usermgr.names import visible

Row = dict[str, Any]
SHOWN = 100
BATCH = 5_000

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
_REPEATED_GRANTS = """
    SELECT user_id, claim_id, count(*) AS rows FROM user_claims
    GROUP BY user_id, claim_id HAVING count(*) > 1 ORDER BY user_id, claim_id
"""
_BAD_DATES = {
    "sqlite": """
        SELECT id, created_at, updated_at FROM users
        WHERE typeof(created_at) <> 'text' OR strftime('%Y', created_at) IS NULL OR
        updated_at NOTNULL AND (typeof(updated_at) <> 'text' OR strftime('%Y', updated_at) IS NULL)
        ORDER BY id
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
            coalesce(n.email, CAST(u.email AS varchar)) AS value
        FROM users u LEFT JOIN usermgr_emails n ON n.id = u.id
    )
    SELECT value, id, stored FROM addresses
    WHERE value IN (SELECT value FROM addresses GROUP BY value HAVING count(*) > 1)
    ORDER BY value, id
"""


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


def find_obstacles(connection: Connection, *, claim_name: str = "description") -> Obstacles:
    """Look for rows in the way; ``claim_name`` is the column that holds the claims' names.

    Leaves the temporary table ``usermgr_emails`` behind, which ``resolve_obstacles`` needs.
    """
    _collect_canonical_emails(connection)
    return Obstacles(
        emails=_groups(connection, _SHARED_EMAILS),
        roles=_groups(connection, _repeated_names(connection, "roles", "description")),
        claims=_groups(connection, _repeated_names(connection, "claims", claim_name)),
        grants=_rows(connection, _REPEATED_GRANTS),
        problems=tuple(problem for problem in _problems(connection, claim_name) if problem.rows),
    )


def require_free_way(
    found: Obstacles, database: str, *, merge_roles: bool, merge_claims: bool
) -> None:
    """Raise Conflict with every row in the way, except those that merging takes care of."""
    told = [Told("emails", "e-mails of several users", _group_lines("e-mail", found.emails))]
    if not merge_roles:
        told.append(Told("roles", "repeated role names", _group_lines("role", found.roles)))
    if not merge_claims:
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


def resolve_obstacles(connection: Connection, found: Obstacles) -> list[str]:
    """Merge what is repeated and make e-mails canonical; returns what was changed, in words."""
    changed = [_merge_role(connection, group) for group in found.roles]
    changed += [_merge_claim(connection, group) for group in found.claims]
    repeated = _rows(connection, _REPEATED_GRANTS)
    for row in repeated:
        where = "user_id = :user_id AND claim_id = :claim_id"
        connection.execute(text(f"DELETE FROM user_claims WHERE {where}"), row)
        again = "INSERT INTO user_claims (user_id, claim_id) VALUES (:user_id, :claim_id)"
        connection.execute(text(again), row)
    if repeated:
        changed.append(f"joined {counted(len(repeated), 'repeated grant')}")
    emails = connection.execute(
        text("UPDATE users SET email = n.email FROM usermgr_emails n WHERE n.id = users.id")
    ).rowcount
    if emails:
        changed.append(f"made {counted(emails, 'e-mail')} canonical")
    connection.execute(text("DROP TABLE usermgr_emails"))
    return changed


def counted(number: int, noun: str) -> str:
    """The number with its noun, such as "1 user" or "2 users"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _problems(connection: Connection, claim_name: str) -> Iterator[Problem]:
    for kind, columns in _REQUIRED.items():
        for name in columns:
            field = claim_name if (kind, name) == ("claims", "description") else name
            empty = f"SELECT id FROM {kind} WHERE {field} IS NULL"
            yield Problem(f"rows of {kind} without {field}", kind, _rows(connection, empty))
        repeated = f"SELECT id FROM {kind} GROUP BY id HAVING count(*) > 1 ORDER BY id"
        yield Problem(f"repeated ids of {kind}", kind, _rows(connection, repeated))
    for sentence, noun, statement in (
        ("users whose role does not exist", "user", _NO_ROLE),
        ("grants of a user or claim that does not exist", "grant", _NO_PARTNER),
        ("users with a date that cannot be read", "user", _BAD_DATES[connection.dialect.name]),
    ):
        yield Problem(sentence, noun, _rows(connection, statement))


def _collect_canonical_emails(connection: Connection) -> None:
    connection.execute(text("CREATE TEMPORARY TABLE usermgr_emails (id bigint, email varchar)"))
    # psycopg2 sends many rows at once only for an INSERT that SQLAlchemy has built.
    emails = table("usermgr_emails", column("id", BigInteger), column("email", String))
    for batch in _emails_to_change(connection):
        connection.execute(insert(emails), batch)


def _emails_to_change(connection: Connection) -> Iterator[list[Row]]:
    select = text("SELECT id, CAST(email AS varchar) AS email FROM users WHERE email IS NOT NULL")
    with connection.execute(select, execution_options={"yield_per": BATCH}) as result:
        for partition in result.partitions(BATCH):
            changed = [
                {"id": row.id, "email": canonical}
                for row in partition
                if (canonical := lenient_email(row.email)) != row.email
            ]
            if changed:
                yield changed


def _repeated_names(connection: Connection, kind: str, field: str) -> str:
    fold = "usermgr_lower" if connection.dialect.name == "sqlite" else "lower"
    return f"""
        WITH names AS (SELECT id, {field} AS stored, {fold}({field}) AS value FROM {kind})
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


def _rows(connection: Connection, statement: str) -> tuple[Row, ...]:
    return tuple(dict(row) for row in connection.execute(text(statement)).mappings())


def _merge_role(connection: Connection, group: Group) -> str:
    kept, *others = group.rows
    moved = 0
    for other in others:
        ids = {"kept": kept.id, "other": other.id}
        update = "UPDATE users SET role_id = :kept WHERE role_id = :other"
        moved += connection.execute(text(update), ids).rowcount
        connection.execute(text("DELETE FROM roles WHERE id = :other"), ids)
    return _merged("role", kept, others, f"moved {counted(moved, 'user')}")


_KEPT_ACTIVE = "SELECT active FROM claims WHERE id = :kept"


def _merge_claim(connection: Connection, group: Group) -> str:
    kept, *others = group.rows
    moved = differing = 0
    for other in others:
        ids = {"kept": kept.id, "other": other.id}
        same = "SELECT count(*) FROM claims WHERE id = :other AND active <> (" + _KEPT_ACTIVE + ")"
        differing += connection.execute(text(same), ids).scalar_one()
        update = """
            UPDATE user_claims SET claim_id = :kept WHERE claim_id = :other AND user_id NOT IN
            (SELECT user_id FROM user_claims WHERE claim_id = :kept)
        """
        moved += connection.execute(text(update), ids).rowcount
        connection.execute(text("DELETE FROM user_claims WHERE claim_id = :other"), ids)
        connection.execute(text("DELETE FROM claims WHERE id = :other"), ids)
    result = f"moved {counted(moved, 'grant')}"
    if differing:
        result += "; note: not all of them were active, check it with: usermgr claim show"
    return _merged("claim", kept, others, result)


def _merged(kind: str, kept: Member, others: list[Member], result: str) -> str:
    joined = ", ".join(f'{other.id} "{visible(other.stored)}"' for other in others)
    return f'merged {kind} {joined} into {kept.id} "{visible(kept.stored)}": {result}'


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
