"""Many rows into one table: COPY on PostgreSQL, one prepared statement on SQLite."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, TextClause, text

from usermgr.db.models import stored_instant
from usermgr.formats.copytext import Column, Same, row_count

PIECE: Final = 256 * 1024
"""Bytes that are handed to the driver at once: it keeps as many in memory."""


def takes_copy(connection: Connection) -> bool:
    """Whether ``load_rows`` wants rows as the text of COPY, and not as columns."""
    return connection.dialect.name == "postgresql"


def load_rows(
    connection: Connection, table: str, names: Sequence[str], rows: bytes | list[Column]
) -> None:
    """Add the rows. Violated constraints are SQLAlchemy's IntegrityError, as with any INSERT."""
    if isinstance(rows, bytes):
        from usermgr.db.copying import copy_in

        pieces = (rows[start : start + PIECE] for start in range(0, len(rows), PIECE))
        copy_in(connection, f"COPY {table} ({', '.join(names)}) FROM STDIN", pieces)
        return
    number = row_count(rows)
    values = [_converted(column, number) for column in rows]
    statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    connection.exec_driver_sql(statement, list(zip(*values, strict=True)))


def reserve_ids(connection: Connection, table: str, number: int) -> Sequence[int]:
    """Ascending ids for that many new rows of the table, which nobody else will get."""
    if connection.dialect.name == "sqlite":
        return _reserve_sqlite(connection, table, number)
    names = {"table": table, "number": number}
    # Nearly always nobody else takes an id in between, and the two ends tell them all.
    first, last = connection.execute(_reserve("min(id), max(id)"), names).one()
    if last - first == number - 1:
        return range(first, last + 1)
    listed: list[int] = connection.execute(
        _reserve("array_agg(id ORDER BY id)"), names
    ).scalar_one()
    return listed


def _reserve(told: str) -> TextClause:
    # The name is found before: a subquery is not run for every id.
    return text(f"""
        WITH sequence AS MATERIALIZED
            (SELECT CAST(pg_get_serial_sequence(:table, 'id') AS regclass) AS name)
        SELECT {told} FROM
            (SELECT nextval((SELECT name FROM sequence)) AS id FROM generate_series(1, :number))
                reserved
    """)


def pass_over_ids(connection: Connection, table: str) -> None:
    """Make new rows of the table begin behind the ids that it holds. SQLite does that by itself."""
    if connection.dialect.name == "sqlite":
        return
    statement = text(f"""
        WITH sequence AS (SELECT CAST(pg_get_serial_sequence(:table, 'id') AS regclass) AS name)
        SELECT setval(sequence.name, max(stored.id)) FROM sequence, {table} stored
        GROUP BY sequence.name
        HAVING max(stored.id) > coalesce(pg_sequence_last_value(sequence.name), 0)
    """)
    connection.execute(statement, {"table": table})


def _reserve_sqlite(connection: Connection, table: str, number: int) -> Sequence[int]:
    # Inside BEGIN IMMEDIATE nobody else takes one; the counter is moved so that this call does not
    # give the same ones out again.
    names = {"table": table, "number": number}
    moved = connection.execute(
        text("UPDATE sqlite_sequence SET seq = seq + :number WHERE name = :table"), names
    )
    if not moved.rowcount:
        connection.execute(
            text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :number)"), names
        )
    last: int = connection.execute(
        text("SELECT seq FROM sqlite_sequence WHERE name = :table"), names
    ).scalar_one()
    return range(last - number + 1, last + 1)


def _converted(column: Column, number: int) -> Iterable[Any]:
    if isinstance(column, Same):
        return itertools.repeat(next(iter(_converted([column.value], 1))), number)
    if any(isinstance(value, datetime) for value in column):
        return [value and stored_instant(value) for value in column]
    return column
