"""kill -9, SIGTERM and Ctrl-C at any moment leave nothing half done."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.commands import Command, process_environment
from tests.support.consistency import broken_promises
from tests.support.databases import open_database
from tests.support.people import create_company


def _start(url: str, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "usermgr", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**process_environment(), "USERMGR_DATABASE_URL": url, "USERMGR_LOCK_TIMEOUT": "60"},
    )


def _end(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=45)
    return process.returncode, stdout.decode(), stderr.decode()


@contextlib.contextmanager
def _locked(url: str) -> Iterator[None]:
    """Hold the lock that a command has to wait for in the middle of its work."""
    database = open_database(url)
    with database.connect() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("LOCK TABLE changes IN SHARE MODE"))
        yield
        connection.rollback()


def _wait_until_it_waits(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the command waits for the lock: by then it has written rows on PostgreSQL."""
    if url.startswith("sqlite:"):
        opened = f"/proc/{process.pid}/fd"
        while process.poll() is None:
            with contextlib.suppress(OSError):
                targets = {os.readlink(f"{opened}/{fd}") for fd in os.listdir(opened)}  # noqa: PTH115, PTH208
                if any(target.endswith("test.db") for target in targets):
                    return
        pytest.fail("the command ended before it could wait")
    waiting = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE d.datname = current_database() AND NOT granted"
    )
    with open_database(url).connect() as connection:
        while process.poll() is None:
            if connection.execute(waiting).scalar_one():
                return
            connection.rollback()
    pytest.fail("the command ended before it could wait")


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_a_change(
    cli: Command, database_url: str, sent: signal.Signals
) -> None:
    create_company(cli)
    before = cli("user", "list", "-o", "json").stdout
    operations = cli("operation", "list").stdout
    with _locked(database_url):
        process = _start(database_url, "user", "update", "1", "--name", "Half")
        _wait_until_it_waits(database_url, process)
        process.send_signal(sent)
        if sent == signal.SIGKILL or not database_url.startswith("sqlite:"):
            status, stdout, stderr = _end(process)
    if process.returncode is None:
        status, stdout, stderr = _end(process)
    assert stdout == ""
    if sent == signal.SIGINT:
        assert status == 130
        assert stderr == "error: interrupted; what was not committed is undone\n"
    else:
        assert (status, stderr) == (-sent, "")
    assert cli("user", "list", "-o", "json").stdout == before
    assert cli("operation", "list").stdout == operations
    assert broken_promises(database_url) == {}


def test_kill_at_random_moments_of_a_long_change(cli: Command, database_url: str) -> None:
    draw = random.Random(1)
    for _ in range(6):
        process = _start(database_url, "seed", "--users", "3000", "-q")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5 + draw.random() * 1.5)
        process.kill()
        _end(process)
        users = len(cli("user", "list", "--all", "-o", "json").json)
        assert users in (0, 3000)
        assert broken_promises(database_url) == {}
    assert cli("seed", "--users", "3000", "-q").exit_code == 0
    assert broken_promises(database_url) == {}


def test_kill_in_the_middle_of_the_first_schema(tmp_path: Path) -> None:
    draw = random.Random(2)
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    for _ in range(5):
        process = _start(url, "schema", "init", "-q")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2 + draw.random() * 0.8)
        process.kill()
        _end(process)
    assert _end(_start(url, "schema", "init", "-q"))[0] == 0
    assert _end(_start(url, "schema", "check", "-q"))[0] == 0
    assert broken_promises(url) == {}
