"""Adopt the tables that the challenge's own scripts made: to revision 0001, losing no row.

Both published spellings are known (claims.description and claims.decription), and what people
usually changed by hand: other constraint names, serial ids, text columns, times in place of dates.
Everything that speaks against it is found before the first change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, text

from usermgr.db.adopt_postgresql import normalise_postgresql, read_postgresql_columns
from usermgr.db.adopt_rows import BATCH, Adoption, collect_canonical, resolve_obstacles
from usermgr.db.adopt_sqlite import make_truths, rebuild_sqlite
from usermgr.db.obstacles import (
    Merge,
    find_obstacles,
    find_wrong_values,
    require_free_way,
)
from usermgr.errors import Conflict
from usermgr.hash_limits import DEFAULT_COSTS
from usermgr.hashes.strength import Strength, assess
from usermgr.names import counted, visible

TABLES: Final = ("roles", "claims", "users", "user_claims")
FIRST_REVISION: Final = "0001"

RunAlembic = Callable[[str, str], None]
"""Runs the named Alembic command for a revision, in the transaction that is open."""


_INTEGERS = ("smallint", "integer", "bigint")
_TEXTS = ("character", "text", "citext")
_DATES = ("date", "timestamp")
COLUMNS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "roles": {"id": _INTEGERS, "description": _TEXTS},
    "claims": {"id": _INTEGERS, "description": _TEXTS, "active": ("bool",)},
    "users": {
        "id": _INTEGERS,
        "name": _TEXTS,
        "email": _TEXTS,
        "password": _TEXTS,
        "role_id": _INTEGERS,
        "created_at": _DATES,
        "updated_at": _DATES,
    },
    "user_claims": {"user_id": _INTEGERS, "claim_id": _INTEGERS},
}
"""The columns that the tables must have, with how PostgreSQL's names of acceptable types begin."""

_NEVER_VERIFIED: Final = {
    Strength.UNRECOGNISED: "the password of {users} is in no known hash format (plain text?)",
    Strength.TOO_COSTLY: "the password hash of {users} asks for too much memory or time",
}


def adopt(connection: Connection, database: str, run: RunAlembic, merge: Merge) -> Adoption:
    """Bring the challenge's tables to revision 0001, and their rows in order for the next.

    Raises Conflict, before any change, when the tables are not the challenge's or when rows stand
    in the way; the error lists them.
    """
    claim_name = recognise(connection, database)
    adoption = prepare(connection, database, merge, claim_name=claim_name)
    if claim_name != "description":
        adoption.told.insert(0, f"renamed claims.{claim_name} to description")
    if connection.dialect.name == "sqlite":
        adoption.told += rebuild_sqlite(
            connection, claim_name, lambda: run("upgrade", FIRST_REVISION)
        )
    else:
        adoption.told += normalise_postgresql(connection, claim_name)
        run("stamp", FIRST_REVISION)
    adoption.told.insert(0, _count_rows(connection, adoption))
    return adoption


def prepare(
    connection: Connection, database: str, merge: Merge, *, claim_name: str = "description"
) -> Adoption:
    """Put the rows of revision 0001 in order for 0002.

    Raises Conflict, before any change, with the rows that stand in the way.
    """
    if connection.dialect.name == "postgresql":
        # Nobody adds a row between the look and the keys.
        connection.execute(text(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE"))
        connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    # Some values cannot even be read as what they shall be.
    require_free_way(find_wrong_values(connection, claim_name), database, merge)
    collect_canonical(connection, claim_name)
    found = find_obstacles(connection, claim_name)
    require_free_way(found, database, merge)
    truths = make_truths(connection) if connection.dialect.name == "sqlite" else 0
    adoption = resolve_obstacles(connection, found, claim_name)
    if truths:
        adoption.told.append(f"made the active of {counted(truths, 'claim')} true or false")
        adoption.counts["claim.update"] = truths
    adoption.told += _tell_passwords(connection)
    return adoption


def _tell_passwords(connection: Connection) -> list[str]:
    """How many users have something that no password matches, as ``password report`` has it."""
    passwords = connection.execute(
        text("SELECT password FROM users"), execution_options={"yield_per": BATCH}
    ).scalars()
    found = Counter(assess(stored, DEFAULT_COSTS).strength for stored in passwords)
    return [
        f"note: {what.format(users=counted(found[strength], 'user'))} and cannot be verified; "
        "set a new one with: usermgr user set-password"
        for strength, what in _NEVER_VERIFIED.items()
        if found[strength]
    ]


def recognise(connection: Connection, database: str) -> str:
    """The column of ``claims`` that holds the names, when the tables are the challenge's.

    Raises Conflict with what is missing or of another kind otherwise.
    """
    tables = {table: _read_columns(connection, table) for table in TABLES}
    claims = tables["claims"]
    claim_name = "description"
    if "description" not in claims and "decription" in claims:
        claim_name = "decription"
        claims["description"] = claims.pop("decription")
    problems = [
        problem for table in TABLES for problem in _problems(connection, table, tables[table])
    ]
    if problems:
        raise Conflict(
            f'"{database}" holds tables that are not the challenge\'s: {"; ".join(problems)}',
            hint="use another database, or on PostgreSQL a schema of its own: "
            "set USERMGR_DB_SCHEMA and run usermgr schema init --create-schema",
        )
    return claim_name


def _read_columns(connection: Connection, table: str) -> dict[str, str]:
    """The type of each column in lower case; of a column that inserts must give, with a ``!``."""
    if connection.dialect.name == "postgresql":
        return {
            column.name: column.type + ("!" if column.must_be_given else "")
            for column in read_postgresql_columns(connection, table)
        }
    rows = connection.execute(
        text(
            "SELECT lower(name) AS name, lower(type) AS type FROM pragma_table_xinfo(:table)"
            " WHERE EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table'"
            " AND lower(name) = :table)"
        ),
        {"table": table},
    )
    return {row.name: row.type for row in rows}


def _problems(connection: Connection, table: str, found: dict[str, str]) -> list[str]:
    if not found:
        return [f"there is no table {table}"]
    expected = COLUMNS[table]
    problems = [f"{table} has no column {name}" for name in expected if name not in found]
    for name, kind in found.items():
        if name not in expected:
            problems += _extra_column(connection, f"{table}.{visible(name)}", kind)
        elif connection.dialect.name == "postgresql" and not kind.startswith(expected[name]):
            problems.append(f"{table}.{name} is of the type {kind.rstrip('!')}")
    return problems


def _extra_column(connection: Connection, name: str, kind: str) -> list[str]:
    if connection.dialect.name == "sqlite":
        return [f"{name} would be lost, for tables are built anew on SQLite"]
    if kind.endswith("!"):
        return [f"{name} wants a value that usermgr would not give"]
    return []


def _count_rows(connection: Connection, adoption: Adoption) -> str:
    told = []
    for table, noun in zip(TABLES, ("role", "claim", "user", "grant"), strict=True):
        number = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
        told.append(counted(number, noun))
        if number:
            adoption.counts[f"{noun}.adopt"] = number
    return "kept " + ", ".join(told)
