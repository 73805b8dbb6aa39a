"""The transaction of a migration: one connection, alone, and with the settings it needs."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from usermgr.db.adopt_sqlite import instant
from usermgr.db.connections import quoted
from usermgr.db.diagnosis import OLDEST_POSTGRESQL
from usermgr.db.engine import Database
from usermgr.db.waiting import allow
from usermgr.errors import Conflict, Unavailable
from usermgr.urls import sqlite_path

LOCK_KEY: Final = 0x75736572_6D6772
"""The advisory lock that migrations of one database hold: "usermgr" in ASCII."""

PATIENCE_SECONDS: Final = 300
"""How long a migration waits for another one to end."""

_POLL_MILLISECONDS: Final = 100
"""How long SQLite waits inside C, where Ctrl-C has no effect, before it is asked again."""


@contextlib.contextmanager
def migration(database: Database, *, create_schema: bool = False) -> Iterator[Connection]:
    """The transaction in which a schema is changed; it commits when the block ends without error.

    Whoever comes second waits for the first. Raises Unavailable when that takes too long or the
    database fails, Conflict when objects of other people depend on what must change.
    """
    with database.errors(), database.connect() as connection:
        try:
            if database.is_sqlite:
                _begin_sqlite(connection)
            else:
                _begin_postgresql(database, connection, create_schema=create_schema)
            yield connection
            if database.is_sqlite:
                _require_references(database, connection)
                _when_free(connection, "COMMIT")
            else:
                allow(connection.connection.dbapi_connection, database.settings.statement_timeout)
        except DBAPIError as error:
            if (conflict := _conflict(database, error)) is not None:
                raise conflict from error
            raise
        database.commit(connection, look="look at it with: usermgr schema status")


def create_file(database: Database) -> None:
    """Create the database file, empty, unless it is there. Raises Unavailable when it cannot be.

    It will hold password hashes: only its owner may read a new one.
    """
    path = sqlite_path(database.url)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as error:
        raise Unavailable(
            f'the database file "{path}" cannot be created: {error.strerror}',
            hint="check that its folder exists and is writable",
        ) from error


def use_wal(database: Database) -> None:
    """Let readers and a writer of the file not wait for each other, from now on.

    SQLite does not wait by itself for the moment in which nobody else uses the file. The mode is a
    matter of speed only: a file that stays busy keeps its old one.
    """
    deadline = time.monotonic() + (database.settings.lock_timeout or PATIENCE_SECONDS)
    while True:
        try:
            with database.errors(), database.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                return
        except Unavailable as error:
            if not isinstance(error.__cause__, OperationalError) or time.monotonic() > deadline:
                return
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    for statement in (
        # Tables are built anew, under a name of their own and then renamed; references between
        # tables must neither be enforced nor rewritten meanwhile. Neither can change later on.
        "PRAGMA foreign_keys = OFF",
        "PRAGMA legacy_alter_table = ON",
        f"PRAGMA busy_timeout = {_POLL_MILLISECONDS}",
    ):
        connection.exec_driver_sql(statement)
    driver: Any = connection.connection.dbapi_connection
    driver.create_function("usermgr_instant", 1, instant, deterministic=True)
    _when_free(connection, "BEGIN IMMEDIATE")


def _when_free(connection: Connection, statement: str) -> None:
    """Execute the statement as soon as nobody else holds the lock that it needs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            connection.exec_driver_sql(statement)
            return
        except OperationalError as error:
            primary_code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            if primary_code != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise


def _begin_postgresql(database: Database, connection: Connection, *, create_schema: bool) -> None:
    driver: Any = connection.connection.dbapi_connection
    _require_version(database, connection)
    settings = {
        **database.transaction_settings(),
        "statement_timeout": "0",
        "lock_timeout": str(PATIENCE_SECONDS * 1000),
    }
    _configure(connection, settings)
    allow(driver, PATIENCE_SECONDS)
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
    allow(driver, database.settings.statement_timeout)
    _configure(connection, {"lock_timeout": database.transaction_settings()["lock_timeout"]})
    _require_schema(database, connection, create=create_schema)
    # What follows may rewrite a large table: neither server nor client gives up.
    driver.patience = None


def _configure(connection: Connection, settings: dict[str, str]) -> None:
    columns = ", ".join(f"set_config('{name}', :{name}, true)" for name in settings)
    connection.execute(text(f"SELECT {columns}"), settings)


def _require_version(database: Database, connection: Connection) -> None:
    number, name = connection.execute(
        text(
            "SELECT CAST(current_setting('server_version_num') AS integer),"
            " current_setting('server_version')"
        )
    ).one()
    if number < OLDEST_POSTGRESQL:
        raise Unavailable(
            f'"{database.description}" is PostgreSQL {name}, usermgr needs 13 or newer',
            hint="upgrade the server",
        )


def _require_schema(database: Database, connection: Connection, *, create: bool) -> None:
    if connection.execute(text("SELECT current_schema()")).scalar() is not None:
        return
    schema = database.settings.db_schema
    if schema is None:
        raise Unavailable(
            f'the search path of "{database.description}" names no schema that exists',
            hint="name one in USERMGR_DB_SCHEMA, and create it with: "
            "usermgr schema init --create-schema",
        )
    if not create:
        raise Unavailable(
            f'there is no schema "{schema}" in "{database.description}"',
            hint="create it with: usermgr schema init --create-schema",
        )
    connection.execute(text(f"CREATE SCHEMA {quoted(schema)}"))


def _require_references(database: Database, connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        tables = ", ".join(sorted({str(row[0]) for row in broken}))
        raise Conflict(
            f'{len(broken)} rows of "{database.description}" refer to rows that do not exist, '
            f"in: {tables}",
            hint="PRAGMA foreign_key_check lists them; change or delete them, then run this again",
        )


def _conflict(database: Database, error: DBAPIError) -> Conflict | None:
    """The error of things in the way; their first lines name objects and hold no data of rows."""
    code = getattr(error.orig, "pgcode", None)
    reason = str(error.orig).strip().partition("\n")[0]
    if code in ("0A000", "2BP01"):
        return Conflict(
            f'something in "{database.description}" depends on what must be changed: {reason}',
            hint="drop what depends on it, run this again, and create it anew",
        )
    if code in ("42P07", "42701", "42710", "42723") or (code is None and " already " in reason):
        return Conflict(
            f'something in "{database.description}" has a name that usermgr needs: {reason}',
            hint="rename or drop it with a SQL client, then run this again",
        )
    if "Could not decode to UTF-8" in reason:
        return Conflict(
            f'a text in "{database.description}" is not in UTF-8',
            hint="convert it with a SQL client, then run this again",
        )
    return None
