"""Databases for the tests: created under random names, cloned from a migrated template."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import Engine, create_engine, event, text

from tests.support.postgres import Server
from usermgr.config import load_settings
from usermgr.db import schema
from usermgr.db.engine import Database
from usermgr.urls import normalise_database_url


def open_database(url: str, **flags: str) -> Database:
    """The database of a URL, with the settings that the flags name and defaults otherwise."""
    return Database(load_settings(flags={"database_url": url, **flags}, environ={}))


def initialise(url: str) -> None:
    """Bring the database of a URL to the current schema."""
    database = open_database(url)
    schema.init(database)
    database.engine.dispose()


@dataclass
class PostgresDatabases:
    """Creates and drops databases of its own random names on a server; touches nothing else."""

    server: Server
    admin: Engine
    _template: str | None = None
    _made: list[str] = field(default_factory=list)

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
        return self.create(self._template)

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
