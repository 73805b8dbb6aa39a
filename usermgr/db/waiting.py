"""How the client waits for PostgreSQL: interruptible by Ctrl-C, and with a deadline of its own.

libpq alone waits inside C, where Ctrl-C has no effect, and for ever when a server or a proxy falls
silent while the network still acknowledges packets; the server's own timeouts do not help then.
With this callback installed psycopg2 polls its socket here instead, and closes the connection when
an exception leaves the callback. psycopg2 refuses COPY while a callback is installed: ``blocking``
takes it out for that long, and ``copying`` lets a thread wait.
"""

from __future__ import annotations

import contextlib
import functools
import select
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import psycopg2
from psycopg2 import extensions

GRACE_SECONDS: Final = 10.0
"""How much later than the server's statement_timeout the client gives up."""

CANCEL_SECONDS: Final = 2.0
"""How long an interrupted command tries to tell the server."""


class PatientConnection(extensions.connection):
    """A connection that knows how many seconds one answer may take; None means for ever."""

    patience: float | None = None


def connection_class(connect_timeout: float) -> type[PatientConnection]:
    """The class of connections whose opening may take that many seconds; 0 means for ever."""
    return type("Connection", (PatientConnection,), {"patience": connect_timeout or None})


def install() -> None:
    """Make psycopg2 wait here from now on."""
    extensions.set_wait_callback(_wait)


@contextlib.contextmanager
def blocking() -> Iterator[None]:
    """Let psycopg2 wait inside C while the block runs.

    There is one callback for the process: it is back when the last of the threads that are in such
    a block has left it. Meanwhile the others wait inside C too, and the server's timeouts hold.
    """
    with _blocking_lock:
        _blocking.append(extensions.get_wait_callback())
        extensions.set_wait_callback(None)
    try:
        yield
    finally:
        with _blocking_lock:
            # Only the first one has met the callback, and stays at the bottom.
            if len(_blocking) == 1:
                extensions.set_wait_callback(_blocking[0])
            _blocking.pop()


_blocking_lock = threading.Lock()
_blocking: list[Any] = []


def allow(connection: Any, statement_timeout: float, *, grace: float | None = None) -> None:
    """Let each answer on the connection take a little longer than the server's own limit."""
    grace = GRACE_SECONDS if grace is None else grace
    connection.patience = statement_timeout + grace if statement_timeout else None


def wait_until_sent(connection: Any) -> None:
    """Wait until everything is sent and more can be, or somebody hangs up."""
    while _has_unsent(connection):
        _wait_for_socket(connection, extensions.POLL_WRITE, None)
    _wait_for_socket(connection, extensions.POLL_WRITE, None)


def _has_unsent(connection: Any) -> bool:
    return bool(_libpq().PQflush(connection.pgconn_ptr) == 1)


@functools.cache
def _libpq() -> Any:
    """The library inside psycopg2, of which it does not offer everything."""
    import ctypes

    from psycopg2 import _psycopg

    library = ctypes.CDLL(_psycopg.__file__)
    for function in (library.PQflush, library.PQgetCancel, library.PQfreeCancel):
        function.argtypes = [ctypes.c_void_p]
    library.PQgetCancel.restype = ctypes.c_void_p
    library.PQcancel.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    return library


def no_answer() -> psycopg2.OperationalError:
    """The error of a server whose answer takes longer than its connection is patient."""
    return psycopg2.OperationalError("the server did not answer in time")


def _wait(connection: Any) -> None:
    deadline = _deadline(connection)
    try:
        while (state := connection.poll()) != extensions.POLL_OK:
            _wait_for_socket(connection, state, deadline)
    except KeyboardInterrupt:
        cancel(connection)
        raise


def _deadline(connection: Any) -> float | None:
    patience = getattr(connection, "patience", None)
    return None if patience is None else time.monotonic() + patience


def cancel(connection: Any) -> None:
    """Ask the server to stop what it does. libpq asks without a deadline, so a thread does it.

    Not by psycopg2, which would keep all threads waiting meanwhile.
    """
    if connection.closed:
        return
    request = _libpq().PQgetCancel(connection.pgconn_ptr)

    def ask() -> None:
        import ctypes

        reason = ctypes.create_string_buffer(256)
        _libpq().PQcancel(request, reason, len(reason))
        _libpq().PQfreeCancel(request)

    if request:
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(CANCEL_SECONDS)


def _wait_for_socket(connection: Any, state: int, deadline: float | None) -> None:
    # Not select.select, which knows no descriptor above 1023, and not epoll, which would need one
    # more descriptor for each answer: this runs several times in every statement.
    event = select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
    timeout = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
    descriptor = connection.fileno()
    if descriptor < 0:  # libpq has met the end of the connection, and closed it.
        raise psycopg2.OperationalError("the server closed the connection")
    waiter = select.poll()
    waiter.register(descriptor, event)
    if not waiter.poll(timeout):
        raise no_answer()
