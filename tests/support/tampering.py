"""Writing past everything that protects the history, as an administrator of the database could."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, text

from tests.support.databases import open_database
from usermgr.db.engine import Database


def tamper(url: str, *statements: str) -> None:
    """Run the statements without triggers and foreign keys; both are back afterwards."""
    database = open_database(url)
    with tampered(database, statements) as connection:
        connection.commit()
    database.engine.dispose()


@contextlib.contextmanager
def tampered(database: Database, statements: Sequence[str]) -> Iterator[Connection]:
    """A transaction in which the statements were run so; rolled back unless it is committed."""
    with database.connect() as connection:
        if database.is_sqlite:
            _on_sqlite(connection, statements)
        else:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            _run(connection, statements)
        yield connection


def _on_sqlite(connection: Connection, statements: Sequence[str]) -> None:
    connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    found = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    triggers = connection.exec_driver_sql(found).all()
    for name, _ in triggers:
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    _run(connection, statements)
    for _, definition in triggers:
        connection.exec_driver_sql(definition)


def _run(connection: Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)
