"""What many tests begin with: made by commands once, and put into the other databases as rows."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2

from tests.support.commands import Command, InsideCommand
from usermgr.db.models import metadata
from usermgr.urls import sqlite_path

_TABLES = [table.name for table in metadata.sorted_tables]
_SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE last_value IS NOT NULL"
_kept: dict[tuple[str, bool], Any] = {}


def fill(cli: Command, name: str, make: Callable[[Command], None]) -> None:
    """Bring an untouched database to where ``make`` leaves it: what has this name.

    ``make`` runs in a database where something was done already, on commands that are not the
    fixture's, and the first time.
    """
    if not isinstance(cli, InsideCommand):
        make(cli)
        return
    path = sqlite_path(cli.url) if cli.url.startswith("sqlite:") else None
    key = (name, path is None)
    untouched = _is_untouched_file(path) if path else _is_untouched(cli.url)
    if untouched and key in _kept:
        _put_into_file(path, _kept[key]) if path else _put(cli.url, _kept[key])
        return
    make(cli)
    if untouched:
        _kept[key] = _rows_of_file(path) if path else _rows(cli.url)


def _is_untouched_file(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        used = connection.execute("SELECT count(*) FROM sqlite_sequence WHERE seq > 0")
        return used.fetchall() == [(0,)]


def _rows_of_file(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        # The numbers come last: rows that are put in count as well.
        found = (*_TABLES, "sqlite_sequence")
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in found}


def _put_into_file(path: Path, kept: dict[str, list[tuple[Any, ...]]]) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for table, rows in kept.items():
            if table == "sqlite_sequence":
                connection.execute("DELETE FROM sqlite_sequence")
            if rows:
                places = ", ".join("?" * len(rows[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)


def _is_untouched(url: str) -> bool:
    with contextlib.closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
        cursor.execute(_SEQUENCES)
        return cursor.fetchall() == []


def _rows(url: str) -> list[tuple[str, str]]:
    """The statements, each with what it takes, that make the rows and numbers of the database."""
    found = []
    with contextlib.closing(psycopg2.connect(url)) as connection:
        cursor = connection.cursor()
        for table in _TABLES:
            cursor.execute(f"SELECT CAST(json_agg(t) AS text) FROM {table} t")
            ((rows,),) = cursor.fetchall()
            if rows is not None:
                put = f"SELECT * FROM json_populate_recordset(CAST(NULL AS {table}), %s)"
                found.append((f"INSERT INTO {table} OVERRIDING SYSTEM VALUE {put}", rows))
        cursor.execute(_SEQUENCES)
        numbers = json.dumps(dict(cursor.fetchall()))
        put = "SELECT setval(key::regclass, value::bigint) FROM json_each_text(%s)"
        found.append((put, numbers))
    return found


def _put(url: str, statements: list[tuple[str, str]]) -> None:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection:
        cursor = connection.cursor()
        for statement, rows in statements:
            cursor.execute(statement, (rows,))
