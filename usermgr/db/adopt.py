"""Adopt the tables that the challenge's own scripts made: to revision 0001, losing no row.

Both published spellings are known (claims.description and claims.decription), and what people
usually changed by hand: other constraint names, serial ids, text columns, times in place of dates.
Everything that speaks against it is found before the first change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from sqlalchemy import Connection, text

from usermgr.db.adopt_postgresql import normalise_postgresql, read_postgresql_columns
from usermgr.db.obstacles import counted, find_obstacles, require_free_way, resolve_obstacles
from usermgr.errors import Conflict
from usermgr.names import visible

TABLES: Final = ("roles", "claims", "users", "user_claims")
FIRST_REVISION: Final = "0001"

RunAlembic = Callable[[str, str], None]
"""Runs the named Alembic command for a revision, in the transaction that is open."""


class Merge(NamedTuple):
    """Which names that differ only in case shall be joined."""

    roles: bool = False
    claims: bool = False


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

_OTHER_PASSWORDS = """
    SELECT count(*) FROM users WHERE password NOT LIKE '$%$%' AND password NOT LIKE '{%}%'
    AND password NOT LIKE '!%' AND password NOT LIKE 'pbkdf2%$%' AND password NOT LIKE 'scrypt%$%'
    AND password NOT LIKE 'bcrypt%$%' AND password NOT LIKE 'argon2%$%'
"""
"""Counts the users whose password does not begin as hashes in known formats do."""


def adopt(connection: Connection, database: str, run: RunAlembic, merge: Merge) -> list[str]:
    """Bring the challenge's tables to revision 0001, and their rows in order for the next.

    Returns what was changed, in words. Raises Conflict, before any change, when the tables are not
    the challenge's or when rows stand in the way; the error lists them.
    """
    claim_name = recognise(connection, database)
    changed = prepare(connection, database, merge, claim_name=claim_name)
    if claim_name != "description":
        changed.insert(0, f"renamed claims.{claim_name} to description")
    if connection.dialect.name == "sqlite":
        changed += _rebuild_sqlite(connection, run, claim_name)
    else:
        changed += normalise_postgresql(connection, claim_name)
        run("stamp", FIRST_REVISION)
    return [_count_rows(connection), *changed]


def prepare(
    connection: Connection, database: str, merge: Merge, *, claim_name: str = "description"
) -> list[str]:
    """Put the rows of revision 0001 in order for 0002; returns what was changed, in words.

    Raises Conflict, before any change, with the rows that stand in the way.
    """
    if connection.dialect.name == "postgresql":
        # Nobody adds a row between the look and the keys.
        connection.execute(text(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE"))
        connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    found = find_obstacles(connection, claim_name=claim_name)
    require_free_way(found, database, merge_roles=merge.roles, merge_claims=merge.claims)
    changed = resolve_obstacles(connection, found)
    plain = connection.execute(text(_OTHER_PASSWORDS)).scalar_one()
    if plain:
        changed.append(
            f"note: the password of {counted(plain, 'user')} is in no known hash format (plain "
            "text?) and cannot be verified; set a new one with: usermgr user set-password"
        )
    return changed


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
            "SELECT name, lower(type) AS type FROM pragma_table_info(:table)"
            " WHERE EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :table)"
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


def _count_rows(connection: Connection) -> str:
    counts = [
        counted(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one(), noun)
        for table, noun in zip(TABLES, ("role", "claim", "user", "grant"), strict=True)
    ]
    return "kept " + ", ".join(counts)


def _rebuild_sqlite(connection: Connection, run: RunAlembic, claim_name: str) -> list[str]:
    """Create the tables of 0001 beside the old ones, copy the rows, and drop the old ones."""
    changed = _objects_of_tables(connection)
    counters = _counters(connection)
    for table in TABLES:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO usermgr_old_{table}"))
    run("upgrade", FIRST_REVISION)
    for table in TABLES:
        columns = list(COLUMNS[table])
        old = [
            claim_name if (table, name) == ("claims", "description") else name for name in columns
        ]
        connection.execute(
            text(
                f"INSERT INTO {table} ({', '.join(columns)})"
                f" SELECT {', '.join(old)} FROM usermgr_old_{table}"
            )
        )
    for table in reversed(TABLES):
        connection.execute(text(f"DROP TABLE usermgr_old_{table}"))
    for table, counter in counters.items():
        # An id that was used once is not given out again, although its row is gone.
        connection.execute(
            text("UPDATE sqlite_sequence SET seq = max(seq, :counter) WHERE name = :table"),
            {"table": table, "counter": counter},
        )
    return changed


def _objects_of_tables(connection: Connection) -> list[str]:
    names = ", ".join(f"'{table}'" for table in TABLES)
    rows = connection.execute(
        text(
            "SELECT type, name, tbl_name FROM sqlite_master WHERE type IN ('index', 'trigger')"
            f" AND sql IS NOT NULL AND tbl_name IN ({names}) ORDER BY type, name"
        )
    )
    return [f"dropped the {row.type} {visible(row.name)} of {row.tbl_name}" for row in rows]


def _counters(connection: Connection) -> dict[str, int]:
    if not connection.execute(
        text("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'")
    ).scalar():
        return {}
    rows = connection.execute(text("SELECT name, seq FROM sqlite_sequence"))
    return {row.name: row.seq for row in rows if row.name in TABLES}
