"""COPY into and out of PostgreSQL: in constant memory, interruptible and with a deadline.

libpq waits for the server inside C, where Ctrl-C has no effect, so a thread of its own does that.
Whoever gives or takes the rows waits for it in Python, and hangs up when that takes too long.

In: connections that were opened under the wait callback do not block: what the server does not take
at once libpq would gather in memory, all of it. So every piece, and the end too, is held back here
until the one before it is sent. If something were left to send by then, and the server's error came
while libpq sends it, libpq would wait for that error once more, for ever. The error of a reader
comes out as it is.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import psycopg2
from sqlalchemy import Connection, Select, text
from sqlalchemy.exc import DBAPIError

from usermgr.db import waiting
from usermgr.db.ahead import Ahead

BYTES_OUT: Final = 256 * 1024
"""A list of rows that come out ends soon after it has as many."""

TELL_SECONDS: Final = 0.1
"""How often at most the thread tells that the server takes rows: it costs a switch of threads."""

_OUT: Final = "COPY TO STDOUT"


def copy_in(connection: Connection, statement: str, pieces: Iterable[bytes]) -> int:
    """Run ``COPY ... FROM STDIN`` with the pieces as its input; returns the number of rows.

    The pieces are taken in a thread. The server may take as long as the connection's patience for
    each of them, and for the end. Raises what the iterator raises, and SQLAlchemy's error of a
    statement where the server refuses or falls silent.
    """
    driver = _driver(connection)
    failure: BaseException | None = None
    rows = 0

    def make(put: Callable[[None], None]) -> None:
        nonlocal failure, rows
        source = _Source(driver, pieces, put)
        with driver.cursor() as cursor, _unprinted():
            try:
                cursor.copy_expert(statement, source)
            finally:
                failure = source.failure
            rows = cursor.rowcount

    with waiting.blocking():
        worker = Ahead(make)
        try:
            for _ in worker.items(patience=driver.patience):
                pass
        except TimeoutError:
            raised: BaseException = waiting.no_answer()
        except psycopg2.Error as error:
            raised = failure or error
        else:
            return rows
        finally:
            if not worker.ended:
                _hang_up(connection, worker)
    if driver.closed:
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
                _hang_up(connection, worker)


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
    """The file that psycopg2 reads: gives a piece when the server takes more.

    ``tell`` is called now and then while the server takes what is sent.
    """

    def __init__(self, driver: Any, pieces: Iterable[bytes], tell: Callable[[None], None]) -> None:
        self._driver, self._tell = driver, tell
        self._told = time.monotonic()
        self._pieces = filter(None, pieces)  # An empty one would end the COPY.
        self.failure: BaseException | None = None

    def read(self, _size: int) -> bytes:
        """The next piece, whatever its size; nothing at the end."""
        try:
            waiting.wait_until_sent(self._driver)
            if time.monotonic() - self._told >= TELL_SECONDS:
                self._tell(None)
                self._told = time.monotonic()
            return next(self._pieces, b"")
        except BaseException as error:
            self.failure = error
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


def _hang_up(connection: Connection, worker: Ahead[Any]) -> None:
    """End what the thread waits for inside C, and the connection with it."""
    driver = connection.connection.driver_connection
    try:
        waiting.cancel(driver)
    finally:
        with (
            contextlib.suppress(OSError, psycopg2.Error),
            socket.socket(fileno=os.dup(driver.fileno())) as same,  # type: ignore[union-attr]
        ):
            same.shutdown(socket.SHUT_RDWR)
        worker.stop()
        connection.invalidate()


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
