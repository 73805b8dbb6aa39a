"""Imports that are killed, interrupted, run twice at once, or fed by a pipe that stalls."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.commands import Command
from tests.support.consistency import broken_promises
from tests.support.databases import open_database
from tests.support.imports import children_of, count_users, start, wait_until

HEADER = "name,email,role\n"
NUMBER = 60_000


@pytest.fixture
def role(cli: Command) -> None:
    assert cli("role", "create", "member").exit_code == 0


def write_people(name: str, numbers: range) -> str:
    lines = (f"Person number {n} {'x' * 40},p{n}@example.com,member\n" for n in numbers)
    Path(name).write_text(HEADER + "".join(lines))
    return name


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [0.5, 0.9])
def test_an_import_that_is_ended_leaves_nothing(
    cli: Command, database_url: str, number: signal.Signals, seconds: float
) -> None:
    process = start(database_url, write_people("x.csv", range(NUMBER)))
    time.sleep(seconds)
    others = children_of(process.pid) if process.poll() is None else []
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    stored = count_users(database_url)
    if process.returncode == 0 or stdout:  # The signal came when all was done.
        assert stored == NUMBER
    elif number is not signal.SIGKILL:
        assert b"Traceback" not in stderr
        assert stored == 0 or b"unknown" in stderr or b"after the change was stored" in stderr
    else:
        assert stored in (0, NUMBER)
    for child in others:
        deadline = time.monotonic() + 20
        while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{child}").exists()
    assert cli("schema", "check").exit_code == 0
    assert broken_promises(database_url) == {}


@pytest.mark.usefixtures("role")
def test_one_more_interrupt_at_the_end_changes_nothing(database_url: str) -> None:
    """The interpreter takes a while to end, after all is told."""
    process = start(database_url, write_people("x.csv", range(NUMBER)))
    wait_until(lambda: children_of(process.pid))
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    told = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    stdout, rest = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, b"")
    assert b"interrupted" in told + rest
    assert b"Traceback" not in told + rest


@pytest.mark.usefixtures("role")
def test_signals_are_not_for_the_process_that_reads(database_url: str) -> None:
    """Ctrl-C reaches the group; who is asked to stop is the command."""
    process = start(database_url, write_people("x.csv", range(NUMBER)))
    wait_until(lambda: children_of(process.pid))
    for child in children_of(process.pid):
        os.kill(child, signal.SIGINT)
        os.kill(child, signal.SIGTERM)
    _, stderr = process.communicate(timeout=100)
    assert (process.returncode, stderr) == (0, b"")
    assert count_users(database_url) == NUMBER


@pytest.mark.usefixtures("role")
def test_two_imports_at_once_store_everybody_once(cli: Command, database_url: str) -> None:
    first = start(database_url, write_people("x.csv", range(20_000)), "--on-conflict", "skip")
    reverse = range(29_999, 9_999, -1)
    second = start(database_url, write_people("y.csv", reverse), "--on-conflict", "skip")
    ended = [process.communicate(timeout=100) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), ended
    assert count_users(database_url) == 30_000
    assert cli("schema", "check").exit_code == 0
    assert broken_promises(database_url) == {}


@pytest.mark.usefixtures("role")
def test_a_pipe_that_stalls_holds_nothing_and_can_be_interrupted(
    cli: Command, database_url: str
) -> None:
    reader, writer = os.pipe()
    process = start(database_url, "-", stdin=reader)
    os.close(reader)
    os.write(writer, (HEADER + "A,a@example.com,member\n").encode())
    time.sleep(1)
    created = cli("user", "create", "--name", "B", "--email", "b@example.com", "--role", "member")
    assert created.exit_code == 0
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    os.close(writer)
    assert (process.returncode, stdout) == (130, b"")
    assert b"interrupted" in stderr
    assert count_users(database_url) == 1


def test_a_lost_connection_leaves_nothing(migrated_postgresql_url: str) -> None:
    database = open_database(migrated_postgresql_url)
    with database.connect() as connection:
        connection.execute(text("INSERT INTO roles (description) VALUES ('member')"))
        connection.commit()
        process = start(migrated_postgresql_url, write_people("x.csv", range(NUMBER)))
        terminate = text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND query LIKE 'COPY%'"
        )
        while process.poll() is None and not connection.execute(terminate).all():
            connection.rollback()
            time.sleep(0.01)
        stdout, stderr = process.communicate(timeout=60)
    database.engine.dispose()
    assert (process.returncode, stdout) == (5, b""), stderr
    assert b"connection" in stderr
    assert b"Traceback" not in stderr
    assert count_users(migrated_postgresql_url) == 0
