"""Values that another program stored and that this one cannot read as what they should be.

SQLite keeps anything in any column; PostgreSQL's times go beyond the years that Python knows. Where
they stand is looked for when one was met, and by ``schema check``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import JSON, Boolean, Column, Connection, Integer, Table, inspect, text

from usermgr.db.models import Instant, metadata, read_instant
from usermgr.names import visible

SHOWN: Final = 10
"""How many rows are named for each column; there may be any number."""

_BEYOND: Final = "{0} NOT BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'"


def find_unreadable(connection: Connection) -> list[str]:
    """Where the values stand, in words; every row of our tables is looked at."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.dbapi_connection
        driver.create_function("usermgr_is_text", 1, _is_text, deterministic=True)
        driver.create_function("usermgr_is_instant", 1, _is_instant, deterministic=True)
    inspector = inspect(connection)
    return [
        found
        for table in metadata.sorted_tables
        if inspector.has_table(table.name)
        for found in _look(connection, table)
    ]


def _look(connection: Connection, table: Table) -> Iterator[str]:
    on_sqlite = connection.dialect.name == "sqlite"
    keys = [column.name for column in table.primary_key]
    shown = ", ".join(f"quote({key})" if on_sqlite else key for key in keys)
    for column in table.columns:
        wrong, belongs = (_wrong_on_sqlite if on_sqlite else _wrong_on_postgresql)(column)
        if not wrong:
            continue
        statement = f"SELECT {shown} FROM {table.name} WHERE {wrong} LIMIT {SHOWN + 1}"
        rows = connection.execute(text(statement)).all()
        for row in rows[:SHOWN]:
            where = ", ".join(
                f"{key} {visible(str(value))}" for key, value in zip(keys, row, strict=True)
            )
            yield f"{table.name}.{column.name} of {where} is not {belongs}"
        if len(rows) > SHOWN:
            yield f"{table.name}.{column.name} of more rows is not {belongs}"


def _wrong_on_sqlite(column: Column[Any]) -> tuple[str, str]:
    """The condition that finds unreadable values of the column, and what belongs there."""
    name = column.name
    if isinstance(column.type, Integer | Boolean):
        belongs = "true or false" if isinstance(column.type, Boolean) else "a whole number"
        return f"typeof({name}) NOT IN ('integer', 'null')", belongs
    if isinstance(column.type, JSON):
        return f"typeof({name}) <> 'null' AND NOT json_valid({name})", "JSON"
    check, belongs = ("instant", "a time") if isinstance(column.type, Instant) else ("text", "text")
    readable = f"typeof({name}) = 'text' AND usermgr_is_{check}(CAST({name} AS blob))"
    return f"typeof({name}) <> 'null' AND NOT ({readable})", belongs


def _wrong_on_postgresql(column: Column[Any]) -> tuple[str, str]:
    if isinstance(column.type, Instant):
        return _BEYOND.format(column.name), "a time between the years 1 and 9999"
    return "", ""


def _is_text(stored: bytes) -> bool:
    try:
        stored.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_instant(stored: bytes) -> bool:
    try:
        read_instant(stored.decode())
    except (ValueError, OverflowError):
        return False
    return True
