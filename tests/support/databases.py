"""Databases for the tests: created under random names, cloned from a migrated template."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from sqlalchemy import Engine, create_engine, event, text

from tests.support.postgres import Server
from usermgr.config import load_settings
from usermgr.db import schema
from usermgr.db.engine import Database
from usermgr.db.models import metadata
from usermgr.urls import normalise_database_url


def open_database(url: str, **flags: str) -> Database:
    """The database of a URL, with the settings that the flags name and defaults otherwise."""
    return Database(load_settings(flags={"database_url": url, **flags}, environ={}))


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run a statement past usermgr; returns its rows."""
    database = open_database(url)
    with database.connect() as connection:
        done = connection.execute(text(statement))
        rows = [tuple(row) for row in done] if done.returns_rows else []
        connection.commit()
    database.engine.dispose()
    return rows


def initialise(url: str) -> None:
    """Bring the database of a URL to the current schema."""
    database = open_database(url)
    schema.init(database)
    database.engine.dispose()


_SHAPE = (
    " UNION ALL ".join(
        # Whoever changes a row of a catalog writes another one, with the number of the transaction.
        f"SELECT '{catalog}', count(*), coalesce(sum(CAST(CAST(xmin AS text) AS bigint)), 0) "
        f"FROM {catalog} WHERE {which} >= 16384"
        for catalog, which in {
            **dict.fromkeys(("pg_trigger", "pg_proc", "pg_type", "pg_rewrite", "pg_policy"), "oid"),
            **dict.fromkeys(("pg_constraint", "pg_namespace", "pg_attrdef", "pg_collation"), "oid"),
            "pg_attribute": "attrelid",
            "pg_description": "objoid",
            "pg_sequence": "seqrelid",
            "pg_extension": "oid",
            "pg_default_acl": "oid",
            "pg_event_trigger": "oid",
        }.items()
    )
    + """
    UNION ALL SELECT 'of ' || relname, CAST(relowner AS bigint), hashtext(concat(oid, relnamespace,
        relacl, reloptions, reltablespace, relpersistence, relreplident, relrowsecurity))
    FROM pg_class WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace
    UNION ALL SELECT 'index', indexrelid, hashtext(concat(indrelid, indisvalid, indisclustered,
        indisreplident, indisunique)) FROM pg_index WHERE indexrelid >= 16384
    UNION ALL SELECT 'settings', datconnlimit, hashtext(concat(datacl, datdba, (SELECT
        string_agg(setconfig::text, ' ') FROM pg_db_role_setting WHERE setdatabase = d.oid)))
    FROM pg_database d WHERE datname = current_database()
    UNION ALL SELECT 'version', 0, (SELECT hashtext(string_agg(version_num, ' '))
        FROM usermgr_version)
    ORDER BY 1, 2, 3
"""
)
"""Everything of a database that a test can change, but for the rows of our tables."""

_OTHERS = """
    SELECT (SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid())
    + (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database())
"""


@dataclass
class PostgresDatabases:
    """Creates and drops databases of its own random names on a server; touches nothing else.

    To create one takes as long as most tests do, so clones that nothing but rows was changed in
    are emptied and given to the next test.
    """

    server: Server
    admin: Engine
    _template: str | None = None
    _shape: list[Any] = field(default_factory=list)
    _made: list[str] = field(default_factory=list)
    _free: list[str] = field(default_factory=list)

    def create(self, template: str = "template0") -> str:
        """The name of a new database; a copy of the template."""
        name = f"usermgr_test_{secrets.token_hex(6)}"
        # A copy of the files is quicker than writing them through the log, but cannot be asked of
        # a server that is older than PostgreSQL 15.
        strategy = " STRATEGY file_copy" if self._knows_strategies() else ""
        encoding = " ENCODING 'UTF8'"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{encoding}{strategy}')
        self._made.append(name)
        return name

    def clone(self) -> str:
        """The name of a new database with the current schema, and nothing in it."""
        if self._template is None:
            self._template = self.create()
            initialise(self.server.database(self._template))
            with self._cursor(self._template) as cursor:
                self._shape = _rows(cursor, _SHAPE)
        return self._free.pop() if self._free else self.create(self._template)

    def give_back(self, name: str) -> None:
        """Keep a clone for the next test if it is as it was but for rows; drop it otherwise."""
        try:
            with self._cursor(name) as cursor:
                usable = self._empty(cursor)
        except psycopg2.Error:  # Whatever a test has done to it.
            usable = False
        if usable:
            self._free.append(name)
        else:
            self.drop(name)

    def _empty(self, cursor: Any) -> bool:
        if _rows(cursor, _OTHERS) != [(0,)] or _rows(cursor, _SHAPE) != self._shape:
            return False
        held = " UNION ALL ".join(
            f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})" for table in metadata.tables
        )
        if filled := [name for (name,) in _rows(cursor, held)]:
            # Triggers of the history refuse it otherwise.
            cursor.execute("SET session_replication_role = replica")
            # New files for tables and indexes take longer than deleting what most tests leave.
            cursor.execute("; ".join(f"DELETE FROM {table}" for table in filled))
        _rows(cursor, "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence")
        return True

    @contextlib.contextmanager
    def _cursor(self, name: str) -> Iterator[Any]:
        with contextlib.closing(psycopg2.connect(self.server.database(name))) as connection:
            connection.autocommit = True
            yield connection.cursor()

    def drop(self, name: str) -> None:
        """Drop a database that this object made, whoever is still connected to it."""
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._made.remove(name)

    def drop_all(self) -> None:
        """Drop what is left of the databases that this object made."""
        for name in reversed(self._made[:]):
            self.drop(name)

    def _knows_strategies(self) -> bool:
        with self.admin.connect() as connection:
            version = connection.dialect.server_version_info or (0,)
            return bool(version >= (15,))

    def _execute(self, statement: str) -> None:
        with self.admin.connect() as connection:
            connection.execute(text(statement))


def _rows(cursor: Any, statement: str) -> list[Any]:
    cursor.execute(statement)
    found: list[Any] = cursor.fetchall()
    return found


@contextlib.contextmanager
def databases_on(server: Server) -> Iterator[PostgresDatabases]:
    """Databases on this server; all of them are dropped at the end."""
    admin = create_engine(normalise_database_url(server.url), isolation_level="AUTOCOMMIT")
    databases = PostgresDatabases(server, admin)
    try:
        yield databases
    finally:
        databases.drop_all()
        admin.dispose()


@contextlib.contextmanager
def collect_statements(database: Database) -> Iterator[list[str]]:
    """The SQL statements that are sent through the database's engine inside the block."""
    statements: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


CollectStatements = Callable[[Database], contextlib.AbstractContextManager[list[str]]]
