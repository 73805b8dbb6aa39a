"""COPY into PostgreSQL, from an iterator, in constant memory, interruptible and with a deadline.

Connections that were opened under the wait callback do not block: what the server does not take at
once libpq would gather in memory, all of it, and then wait inside C. So every piece is held back
here until the server takes more. Two things of psycopg2 are mended: the error of a reader comes
out as it is, and a server that takes nothing more is not waited for. Only the answer to the end of
the input is waited for inside C.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable
from typing import Any

import psycopg2
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from usermgr.db import waiting


def copy_in(connection: Connection, statement: str, pieces: Iterable[bytes]) -> int:
    """Run ``COPY ... FROM STDIN`` with the pieces as its input; returns the number of rows.

    Raises what the iterator raises, and SQLAlchemy's error of a statement where the server refuses.
    """
    if not connection.in_transaction():
        connection.begin()
    driver: Any = connection.connection.driver_connection
    source = _Source(driver, pieces)
    try:
        with driver.cursor() as cursor, waiting.blocking():
            cursor.copy_expert(statement, source)
            return int(cursor.rowcount)
    except psycopg2.Error as error:
        raised = source.failure or error
    if driver.closed or source.hung_up:
        connection.invalidate()
    if isinstance(raised, psycopg2.Error):
        raise _as_statement_error(connection, statement, raised)
    raise raised


class _Source:
    """The file that psycopg2 reads: gives a piece when the server takes more."""

    def __init__(self, driver: Any, pieces: Iterable[bytes]) -> None:
        self._driver = driver
        self._pieces = filter(None, pieces)  # An empty one would end the COPY.
        self.failure: BaseException | None = None
        self.hung_up = False

    def read(self, _size: int) -> bytes:
        """The next piece, whatever its size; nothing at the end."""
        try:
            self._wait()
            return next(self._pieces, b"")
        except BaseException as error:
            self.failure = error
            raise

    def _wait(self) -> None:
        try:
            waiting.wait_until_writable(self._driver)
        except BaseException:
            # Having failed to read, psycopg2 waits for the server's answer: let it end at once.
            self.hung_up = True
            _shut_down(self._driver.fileno())
            raise


def _shut_down(descriptor: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as same:
        same.shutdown(socket.SHUT_RDWR)


def _as_statement_error(
    connection: Connection, statement: str, error: psycopg2.Error
) -> BaseException:
    return DBAPIError.instance(
        statement,
        None,
        error,
        psycopg2.Error,
        hide_parameters=True,
        connection_invalidated=connection.invalidated,
        dialect=connection.dialect,
    )
