"""COPY into and out of PostgreSQL: in constant memory, interruptible and with a deadline.

In: connections that were opened under the wait callback do not block: what the server does not take
at once libpq would gather in memory, all of it, and then wait inside C. So every piece, and the end
too, is held back here until the one before it is sent. Two things of psycopg2 are mended: the error
of a reader comes out as it is, and a server that takes nothing more is not waited for. Only the
answer to the end of the input is waited for inside C. If something were left to send by then, and
the server's error came while libpq sends it, libpq would wait for that error once more, for ever.

Out: libpq waits for the server inside C, so a thread of its own does that, and whoever takes the
rows can be interrupted.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import psycopg2
from sqlalchemy import Connection, Select, text
from sqlalchemy.exc import DBAPIError

from usermgr.db import waiting
from usermgr.db.ahead import Ahead

BYTES_OUT: Final = 256 * 1024
"""A list of rows that come out ends soon after it has as many."""

_OUT: Final = "COPY TO STDOUT"


def copy_in(connection: Connection, statement: str, pieces: Iterable[bytes]) -> int:
    """Run ``COPY ... FROM STDIN`` with the pieces as its input; returns the number of rows.

    Raises what the iterator raises, and SQLAlchemy's error of a statement where the server refuses.
    """
    driver = _driver(connection)
    source = _Source(driver, pieces)
    try:
        with driver.cursor() as cursor, waiting.blocking(), _unprinted():
            cursor.copy_expert(statement, source)
            return int(cursor.rowcount)
    except psycopg2.Error as error:
        raised = source.failure or error
    except BaseException:
        # An interrupt between psycopg2's own steps: the server waits for rows, or for nothing.
        connection.invalidate()
        raise
    if driver.closed or source.hung_up:
        connection.invalidate()
    if isinstance(raised, psycopg2.Error):
        raise _as_statement_error(connection, statement, raised)
    raise raised


@contextlib.contextmanager
def copy_out(connection: Connection, rows: Select[Any]) -> Iterator[Iterator[list[bytes]]]:
    """Run ``COPY (rows) TO STDOUT`` as csv; gives lists of its lines, in UTF-8.

    For the rest of the transaction a statement may take as long as it wants; the server may take as
    long as the connection's patience for every list. Raises SQLAlchemy's error of a statement where
    the server refuses or falls silent. Left before the last row, the connection is closed.
    """
    driver = _driver(connection)
    connection.execute(text("SET LOCAL statement_timeout = 0"))

    def make(put: Callable[[list[bytes]], None]) -> None:
        sink = _Sink(put)
        with driver.cursor() as cursor, _unprinted():
            statement = cursor.mogrify(*_statement_and_values(connection, rows)).decode()
            cursor.copy_expert(f"COPY ({statement}) TO STDOUT (FORMAT csv)", sink)
        sink.flush()

    with waiting.blocking():
        worker = Ahead(make)
        try:
            yield _told(connection, worker.items(patience=driver.patience))
        finally:
            if not worker.exhausted:
                waiting.cancel(driver)
                _shut_down(driver)
            worker.stop()
            if not worker.exhausted:
                connection.invalidate()


def _statement_and_values(connection: Connection, rows: Select[Any]) -> tuple[str, Any]:
    """The statement in the driver's style, and its values as the driver takes them."""
    compiled = rows.compile(connection, compile_kwargs={"render_postcompile": True})
    values = compiled.construct_params()
    for bind, name in compiled.bind_names.items():
        convert = bind.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
        if convert is not None:
            values[name] = convert(values[name])
    return str(compiled), values


def _told(connection: Connection, items: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """The items; errors of the driver come out as SQLAlchemy's."""
    try:
        yield from items
    except TimeoutError:
        raise _as_statement_error(connection, _OUT, waiting.no_answer()) from None
    except psycopg2.Error as error:
        raise _as_statement_error(connection, _OUT, error) from error


class _Sink:
    """The file that psycopg2 writes, a row at a time: passes them on by the list."""

    def __init__(self, put: Callable[[list[bytes]], None]) -> None:
        self._put = put
        self._rows: list[bytes] = []
        self._size = 0

    def write(self, row: bytes) -> None:
        """Take a row."""
        self._rows.append(row)
        self._size += len(row)
        if self._size >= BYTES_OUT:
            self.flush()

    def flush(self) -> None:
        """Pass on what is left."""
        if self._rows:
            self._put(self._rows)
            self._rows, self._size = [], 0


def _driver(connection: Connection) -> Any:
    if not connection.in_transaction():
        connection.begin()
    return connection.connection.driver_connection


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
            waiting.wait_until_sent(self._driver)
        except BaseException:
            # Having failed to read, psycopg2 waits for the server's answer: let it end at once.
            self.hung_up = True
            _shut_down(self._driver)
            raise


@contextlib.contextmanager
def _unprinted() -> Iterator[None]:
    """Keep psycopg2 from printing an error, in which the server repeats a row.

    A server that ends the connection may leave two errors, its own and libpq's. psycopg2 raises the
    second and fails at it because of the first, which it prints by way of the hook.
    """
    before = sys.excepthook

    def hook(kind: Any, error: BaseException, traceback: Any) -> None:
        if not isinstance(error.__cause__, psycopg2.Error):
            before(kind, error, traceback)

    sys.excepthook = hook
    try:
        yield
    finally:
        sys.excepthook = before


def _shut_down(driver: Any) -> None:
    with (
        contextlib.suppress(OSError, psycopg2.Error),
        socket.socket(fileno=os.dup(driver.fileno())) as same,
    ):
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
