"""Adoption on SQLite: values of any type may stand in any column, and tables are built anew."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from usermgr.db.connections import quoted
from usermgr.db.models import read_instant, stored_instant
from usermgr.errors import Conflict
from usermgr.names import visible

COPIED: Final = {
    "roles": ("id", "description"),
    "claims": ("id", "description", "active"),
    "users": ("id", "name", "email", "password", "role_id", "created_at", "updated_at"),
    "user_claims": ("user_id", "claim_id"),
}
"""The columns of revision 0001 by table."""

_TRUTH: Final = """
    CASE WHEN typeof(active) IN ('integer', 'real') THEN active <> 0
    WHEN lower(trim(active)) IN ('t', 'true', 'y', 'yes', 'on', '1') THEN 1
    WHEN lower(trim(active)) IN ('f', 'false', 'n', 'no', 'off', '0') THEN 0 END
"""
"""What ``active`` means, in the words that PostgreSQL reads as well; NULL for other values."""


def instant(value: Any) -> str | None:
    """A date or time in ISO 8601 as UTC text with microseconds, which is how instants are kept.

    None for what is no such text, or no date of the calendar. SQLite's own functions take
    2023-02-30 for a day in March and know no microseconds.
    """
    if not isinstance(value, str):
        return None
    try:
        return stored_instant(read_instant(value.strip()))
    except (ValueError, OverflowError):
        return None


def value_problems(claim_name: str) -> list[tuple[str, str, str]]:
    """Queries for values that their columns cannot keep: (sentence, noun, statement).

    Nothing but ids is shown of texts: one of them is the password.
    """
    found = []
    for table, columns in COPIED.items():
        key = "quote(user_id) AS user_id, quote(claim_id) AS claim_id"
        key = key if table == "user_claims" else "quote(id) AS id"
        for column in columns:
            source = claim_name if (table, column) == ("claims", "description") else column
            if column == "active" or column.endswith("_at"):
                continue
            if column.endswith("id"):
                wrong = (
                    f"typeof({source}) = 'blob' OR {source} || '' <> CAST({source} AS int) || ''"
                )
                sentence = f"rows of {table} whose {source} is not a whole number"
            else:
                wrong = f"typeof({source}) = 'blob'"
                sentence = f"rows of {table} whose {source} is not text"
            found.append((sentence, table, f"SELECT {key} FROM {table} WHERE {wrong}"))
    odd = f"SELECT quote(id) AS id, quote(active) AS active FROM claims WHERE {_TRUTH} IS NULL"
    found.append(
        ("claims whose active is neither true nor false", "claim", f"{odd} AND active NOTNULL")
    )
    return found


def make_truths(connection: Connection) -> int:
    """Let ``claims.active`` hold 0 or 1; returns how many claims said it otherwise."""
    odd = "typeof(active) <> 'integer' OR active NOT IN (0, 1)"
    return connection.execute(text(f"UPDATE claims SET active = {_TRUTH} WHERE {odd}")).rowcount


def rebuild_sqlite(
    connection: Connection, claim_name: str, create: Callable[[], None]
) -> list[str]:
    """Let ``create`` make the tables of 0001 beside the old ones, copy the rows, drop the old.

    Raises Conflict when a view of somebody else's would no longer work.
    """
    views = _working_views(connection)
    changed = _objects_of_tables(connection)
    counters = _counters(connection)
    for table in COPIED:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO usermgr_old_{table}"))
    create()
    for table, columns in COPIED.items():
        old = [
            claim_name if (table, name) == ("claims", "description") else name for name in columns
        ]
        connection.execute(
            text(
                f"INSERT INTO {table} ({', '.join(columns)})"
                f" SELECT {', '.join(old)} FROM usermgr_old_{table}"
            )
        )
    for table in reversed(COPIED):
        connection.execute(text(f"DROP TABLE usermgr_old_{table}"))
    for table, counter in counters.items():
        # An id that was used once is not given out again, although its row is gone.
        connection.execute(
            text("UPDATE sqlite_sequence SET seq = max(seq, :counter) WHERE name = :table"),
            {"table": table, "counter": counter},
        )
    broken = sorted(set(views) - set(_working_views(connection)))
    if broken:
        raise Conflict(
            f"these views would no longer work: {', '.join(map(visible, broken))}",
            hint="they use a column that gets another name; drop them, adopt, and create them anew",
        )
    return changed


def _working_views(connection: Connection) -> list[str]:
    names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'view'"))
    working = []
    for name in names.scalars().all():
        with contextlib.suppress(OperationalError):
            connection.exec_driver_sql(f"SELECT * FROM {quoted(name)} LIMIT 0")
            working.append(name)
    return working


def _objects_of_tables(connection: Connection) -> list[str]:
    names = ", ".join(f"'{table}'" for table in COPIED)
    rows = connection.execute(
        text(
            "SELECT type, name, tbl_name FROM sqlite_master WHERE type IN ('index', 'trigger')"
            f" AND sql IS NOT NULL AND lower(tbl_name) IN ({names}) ORDER BY type, name"
        )
    )
    return [f"dropped the {row.type} {visible(row.name)} of {row.tbl_name}" for row in rows]


def _counters(connection: Connection) -> dict[str, int]:
    if not connection.execute(
        text("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'")
    ).scalar():
        return {}
    rows = connection.execute(text("SELECT lower(name) AS name, seq FROM sqlite_sequence"))
    return {row.name: row.seq for row in rows if row.name in COPIED}
