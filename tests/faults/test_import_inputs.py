"""Imports whose input stalls, changes while it is read, or cannot be told about."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import sqlite3
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.commands import Command
from tests.support.consistency import broken_promises
from tests.support.databases import open_database
from tests.support.imports import children_of, count_users, is_asleep, start, started, wait_until
from usermgr.urls import sqlite_path

HEADER = "name,email,role\n"
PERSON = "Person,p{}@example.com,member\n"


@pytest.fixture(autouse=True)
def role(cli: Command) -> None:
    assert cli("role", "create", "member").exit_code == 0


def people(numbers: range) -> str:
    return HEADER + "".join(map(PERSON.format, numbers))


def nobody_else_is_there(url: str) -> bool:
    """Whether no other session of the database exists, nor any lock of one."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(sqlite_path(url), timeout=0)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            connection.rollback()
        return True
    database = open_database(url)
    with database.connect() as connection:
        others = connection.execute(
            text("""
                SELECT count(*) FROM (
                    SELECT pid FROM pg_stat_activity WHERE datname = current_database()
                    UNION ALL SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                    WHERE d.datname = current_database()
                ) sessions WHERE pid <> pg_backend_pid()
            """)
        ).scalar_one()
    database.engine.dispose()
    return bool(others == 0)


def unread_bytes(pipe: int) -> int:
    """How many bytes were written and nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), "little")


@pytest.mark.parametrize(
    ("number", "begun"),
    [
        (signal.SIGINT, False),
        (signal.SIGINT, True),
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),
    ],
)
def test_a_fifo_that_stalls_holds_nothing_and_ends_at_once(
    cli: Command, database_url: str, number: signal.Signals, *, begun: bool
) -> None:
    os.mkfifo("fifo.csv")
    files = ("--rejects", "r.csv", "--results", "o.csv")
    with started(database_url, "fifo.csv", *files) as process, contextlib.ExitStack() as stack:
        if begun:
            writer = os.open("fifo.csv", os.O_WRONLY)
            stack.callback(os.close, writer)
            os.write(writer, people(range(1000)).encode() + b'"Half of a')
            wait_until(lambda: unread_bytes(writer) == 0)
        else:
            wait_until(is_asleep(process.pid))
        assert nobody_else_is_there(database_url)
        assert cli("claim", "create", "meanwhile").exit_code == 0
        assert process.poll() is None
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
    assert stdout == b""
    assert process.returncode == 130
    assert b"interrupted; what was not committed is undone" in stderr
    assert count_users(database_url) == 0
    assert not {path.name for path in Path().iterdir()} - {"fifo.csv", "test.db"}
    assert cli("schema", "check").exit_code == 0


def test_a_fifo_that_goes_on_is_imported(database_url: str) -> None:
    os.mkfifo("fifo")
    with started(database_url, "fifo") as process, Path("fifo").open("w") as writer:
        content = people(range(5000))
        writer.write(content[:100_005])
        writer.flush()
        wait_until(lambda: unread_bytes(writer.fileno()) == 0)
        assert nobody_else_is_there(database_url)
        writer.write(content[100_005:])
        writer.close()
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, b"")
    assert count_users(database_url) == 5000


@contextlib.contextmanager
def held_up(url: str) -> Iterator[Callable[[subprocess.Popen[bytes]], bool]]:
    """No import can store anything inside the block; what comes tells whether one waits for it."""
    if url.startswith("sqlite"):
        path = sqlite_path(url)
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.execute("BEGIN EXCLUSIVE")

            def has_opened(process: subprocess.Popen[bytes]) -> bool:
                descriptors = Path(f"/proc/{process.pid}/fd").iterdir()
                with contextlib.suppress(FileNotFoundError):  # One is closed while it is looked at.
                    return any(d.readlink() == path for d in descriptors)
                return False

            yield has_opened
        return
    database = open_database(url)
    with database.connect() as connection:
        connection.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        waiting = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        yield lambda _: bool(connection.execute(waiting).scalar_one())
    database.engine.dispose()


def test_an_import_whose_reading_process_is_killed_stores_nothing(database_url: str) -> None:
    Path("x.csv").write_text(people(range(80_000)))
    with contextlib.ExitStack() as stack:
        with held_up(database_url) as waits:
            process = stack.enter_context(started(database_url, "x.csv"))
            wait_until(lambda: waits(process))
            (reading,) = children_of(process.pid)
            os.kill(reading, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (5, b"")
    assert b"the process that reads the file was ended" in stderr
    assert count_users(database_url) == 0


@pytest.mark.parametrize("case", ["overwritten", "with passwords"])
def test_a_file_that_changes_before_it_is_stored_is_refused(
    cli: Command, database_url: str, case: str
) -> None:
    path = Path("x.csv")
    number = 5 if case == "with passwords" else 80_000  # Large files have a process of their own.
    content = people(range(number))
    if case == "with passwords":
        content = content.replace(",member", ",member,a long passphrase")
        content = content.replace(HEADER, "name,email,role,password\n")
    path.write_text(content)
    words = ("x.csv", "--rejects", "r.csv", "--on-error", "skip")
    with contextlib.ExitStack() as stack:
        with held_up(database_url) as waits:
            process = stack.enter_context(started(database_url, *words))
            wait_until(lambda: waits(process))
            if case == "overwritten":
                path.write_text(content.replace("Person", "Nobody"))
            else:
                with path.open("a") as file:
                    file.write("X,x@example.com,member,a long passphrase\n" * 9)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (4, b"")
    assert b'\\"x.csv\\" was changed while it was read; nothing was stored' in stderr
    assert count_users(database_url) == 0
    assert not Path("r.csv").exists()
    assert broken_promises(database_url) == {}


@contextlib.contextmanager
def small_files(most_bytes: int) -> Iterator[None]:
    """What is started inside the block cannot write a file with more bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("most_bytes", "message", "hint"),
    [
        (0, "no temporary file can be made: No usable temporary directory", "in TMPDIR"),
        (1_000_000, '\\"fifo\\" cannot be copied to', "free space there, or name another folder"),
    ],
)
def test_a_pipe_that_finds_no_room_stores_nothing(
    database_url: str, most_bytes: int, message: str, hint: str
) -> None:
    os.mkfifo("fifo")
    with contextlib.ExitStack() as stack:
        with small_files(most_bytes):
            process = stack.enter_context(started(database_url, "fifo"))
        with contextlib.suppress(BrokenPipeError), Path("fifo").open("w") as writer:
            writer.write(people(range(80_000)))
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (5, b"")
    assert message in stderr.decode()
    assert hint in stderr.decode()
    assert count_users(database_url) == 0


def test_rows_that_cannot_be_told_about_are_not_stored(database_url: str) -> None:
    """The good rows wait for the reject file, which is too large here."""
    bad = "".join(f'"{"x" * 30_000}",bad{n},member\n' for n in range(60))
    Path("x.csv").write_text(people(range(5)) + bad)
    with small_files(1_000_000):
        process = start(database_url, "x.csv", "--on-error", "skip", "--rejects", "r.csv")
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (5, b""), stderr
    assert b'the file \\"r.csv\\" cannot be written' in stderr
    assert count_users(database_url) == 0
    assert not list(Path().glob("*r.csv*"))
    assert broken_promises(database_url) == {}
