"""COPY: in constant memory, and it ends whoever fails: the reader, the server or a person."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from psycopg2 import extensions
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError

from tests.support.databases import open_database
from usermgr.db.copying import BYTES_OUT, copy_in, copy_out

COPY = "COPY things FROM STDIN"
PIECE = b"x\n" * 4_000


@pytest.fixture
def connection(postgresql_url: str) -> Iterator[Connection]:
    """A connection with a table that naps for a minute at a row "sleep", a second at a "nap"."""
    database = open_database(postgresql_url)
    with database.connect() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE things (word text CHECK (word <> 'bad'))"))
        connection.execute(
            text("""
                CREATE FUNCTION pg_temp.rest() RETURNS trigger LANGUAGE plpgsql AS
                $$BEGIN PERFORM pg_sleep(CASE NEW.word WHEN 'nap' THEN 1 ELSE 60 END);
                RETURN NEW; END$$
            """)
        )
        connection.execute(
            text("""
                CREATE TRIGGER rest BEFORE INSERT ON things FOR EACH ROW
                WHEN (NEW.word IN ('nap', 'sleep')) EXECUTE FUNCTION pg_temp.rest()
            """)
        )
        connection.commit()
        yield connection
    database.engine.dispose()


def test_pieces_of_any_size_are_rows(connection: Connection) -> None:
    installed = extensions.get_wait_callback()
    assert installed is not None

    assert copy_in(connection, COPY, [b"on", b"", b"e\ntwo\n", PIECE * 10]) == 40_002

    assert extensions.get_wait_callback() is installed
    assert connection.execute(text("SELECT count(*) FROM things")).scalar_one() == 40_002


def test_a_slow_server_is_not_sent_more_than_it_takes(connection: Connection) -> None:
    """While the server naps the rest waits in the iterator, and not in memory."""
    began = time.monotonic()
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for piece in _pieces(b"nap\n"):
            taken += time.monotonic() - began < 0.8
            yield piece

    copy_in(connection, COPY, pieces())

    assert taken * len(PIECE) < 20_000_000


def test_what_the_iterator_raises_comes_out(connection: Connection) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one\n"
        raise LookupError("of the reader")

    with pytest.raises(LookupError, match="of the reader"):
        copy_in(connection, COPY, pieces())

    connection.rollback()
    assert copy_in(connection, COPY, [b"two\n"]) == 1


def test_what_the_server_refuses_is_an_error_of_a_statement(connection: Connection) -> None:
    with pytest.raises(IntegrityError) as refused:
        copy_in(connection, COPY, [b"good\nbad\n"])

    assert "things_word_check" in str(refused.value.orig)
    connection.rollback()
    assert copy_in(connection, COPY, [b"good\n"]) == 1


def test_a_server_that_takes_nothing_more(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.patience = 0.5
    began = time.monotonic()

    with pytest.raises(OperationalError, match="the server did not answer in time"):
        copy_in(connection, COPY, _pieces(b"sleep\n"))

    assert time.monotonic() - began < 10
    assert connection.invalidated


def test_a_server_that_goes_away_in_the_middle(connection: Connection, postgresql_url: str) -> None:
    backend = text("SELECT pg_terminate_backend(:pid)")
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()

    def pieces() -> Iterator[bytes]:
        yield PIECE
        with open_database(postgresql_url).connect() as other:
            other.execute(backend, {"pid": pid})
        yield from _pieces(PIECE)

    with pytest.raises(DBAPIError) as lost:
        copy_in(connection, COPY, pieces())

    assert lost.value.connection_invalidated


@pytest.mark.parametrize("rest", [0, 20])
def test_what_a_server_says_when_it_goes_away_is_not_printed(
    connection: Connection, postgresql_url: str, capfd: pytest.CaptureFixture[str], rest: int
) -> None:
    """It repeats a row. psycopg2 meets two errors, and would print the first one."""
    hook = sys.excepthook
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()

    def pieces() -> Iterator[bytes]:
        yield PIECE
        with open_database(postgresql_url).connect() as other:
            ended = text("SELECT pg_terminate_backend(:pid, 10_000)")
            assert other.execute(ended, {"pid": pid}).scalar_one()
        yield from [PIECE] * rest

    with pytest.raises(OperationalError):
        copy_in(connection, COPY, pieces())

    assert capfd.readouterr() == ("", "")
    assert connection.invalidated
    assert sys.excepthook is hook


def test_an_interrupt_while_the_server_takes_nothing(connection: Connection) -> None:
    with _interrupted_soon(), pytest.raises(KeyboardInterrupt):
        copy_in(connection, COPY, _pieces(b"sleep\n"))

    assert connection.invalidated


def test_a_server_that_does_not_answer_to_the_end(connection: Connection) -> None:
    """All rows fit into what the network holds: only the answer is waited for."""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.patience = 0.5
    began = time.monotonic()

    with pytest.raises(OperationalError, match="the server did not answer in time"):
        copy_in(connection, COPY, [b"sleep\n"])

    assert time.monotonic() - began < 10
    assert connection.invalidated
    assert threading.active_count() == 1


def test_an_interrupt_while_the_answer_to_the_end_is_waited_for(connection: Connection) -> None:
    with _interrupted_soon(), pytest.raises(KeyboardInterrupt):
        copy_in(connection, COPY, [b"sleep\n"])

    assert connection.invalidated
    assert threading.active_count() == 1


NUMBERS = func.generate_series(1, 1_000_000).column_valued("number")
NAP = select(func.pg_sleep(60))


def test_rows_come_out_by_the_list(connection: Connection) -> None:
    installed = extensions.get_wait_callback()
    rows = select(NUMBERS, func.replace("a,%b", "b", 'c"')).where(NUMBERS < 100_000)

    with copy_out(connection, rows) as lists:
        lines = [line for some in lists for line in some]

    assert lines == [b'%d,"a,%%c"""\n' % number for number in range(1, 100_000)]
    assert extensions.get_wait_callback() is installed
    assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_whoever_takes_rows_slowly_holds_few_of_them(connection: Connection) -> None:
    with copy_out(connection, select(NUMBERS)) as lists:
        first = next(lists)
        time.sleep(0.5)

        assert sum(map(len, first)) < BYTES_OUT + 10
        assert threading.active_count() == 2
        assert next(lists)[0] == b"%d\n" % (len(first) + 1)

    assert connection.invalidated
    assert threading.active_count() == 1


def test_an_error_in_the_middle_of_the_rows(connection: Connection) -> None:
    taken: list[bytes] = []

    with (
        copy_out(connection, select(1 / (NUMBERS - 500_000))) as lists,
        pytest.raises(DataError, match="division by zero"),
    ):
        taken.extend(line for some in lists for line in some)

    assert 0 < len(taken) < 500_000
    assert connection.invalidated


def test_a_server_that_sends_nothing(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.patience = 0.5
    began = time.monotonic()

    with (
        pytest.raises(OperationalError, match="the server did not answer in time"),
        copy_out(connection, NAP) as lists,
    ):
        next(lists)

    assert time.monotonic() - began < 10
    assert connection.invalidated


def test_an_interrupt_while_the_server_sends_nothing(connection: Connection) -> None:
    with (
        _interrupted_soon(),
        pytest.raises(KeyboardInterrupt),
        copy_out(connection, NAP) as lists,
    ):
        next(lists)

    assert connection.invalidated


def test_a_descriptor_that_select_does_not_know(postgresql_url: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_000), max(hard, 2_000)))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        with open_database(postgresql_url).connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            assert driver.fileno() >= 1_024
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def _interrupted_soon() -> Iterator[None]:
    """Ctrl-C after half a second; the block ends long before the server's minute is over."""
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    timer = threading.Timer(0.5, signal.pthread_kill, [main_thread, signal.SIGINT])
    timer.start()
    began = time.monotonic()
    yield
    timer.join()
    assert time.monotonic() - began < 10


def _pieces(first: bytes) -> Iterator[bytes]:
    """Sixty megabytes."""
    yield first
    yield from itertools.repeat(PIECE, 60_000_000 // len(PIECE))


@pytest.mark.parametrize("ends_well", [True, False])
def test_an_error_while_the_rest_is_still_being_sent(
    connection: Connection, ends_well: bool
) -> None:
    """libpq would wait for an answer that it has read already, inside C and for ever."""
    driver = connection.connection.driver_connection
    assert driver is not None
    hanging = threading.Timer(20, _hang_up, [driver.fileno()])
    hanging.start()

    def pieces() -> Iterator[bytes]:
        # Of large pieces the socket takes a part; most of the last ones is not sent at the end.
        for number in range(30):
            yield PIECE * 16 + b"nap\nbad\n" * (number == 22) + PIECE * 16
        if not ends_well:
            raise LookupError("of the reader")

    try:
        with pytest.raises(IntegrityError if ends_well else LookupError):
            copy_in(connection, COPY, pieces())
    finally:
        hanging.cancel()
    assert not connection.invalidated
    connection.rollback()
    assert copy_in(connection, COPY, [b"good\n"]) == 1


def _hang_up(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as same:
        same.shutdown(socket.SHUT_RDWR)
