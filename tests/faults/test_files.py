"""SQLite's files: read-only, cut off, on a full disk, or busy at the moment of the commit."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import Result, process_environment, run_inside
from tests.support.consistency import broken_promises
from usermgr.urls import sqlite_path

CREATE = ("role", "create", "x")
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1


def _start(
    url: str, *words: str, before: Callable[[], None] | None = None, **settings: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "usermgr", *words],
        preexec_fn=before,  # noqa: PLW1509 - the tests have no threads at that moment
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**process_environment(), "USERMGR_DATABASE_URL": url, **settings},
    )


def _end(process: subprocess.Popen[str]) -> Result:
    stdout, stderr = process.communicate(timeout=60)
    return Result(process.returncode, stdout, stderr)


def _obey_permissions() -> None:
    """Take from root, for the program that is started next, the right to write everywhere."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


@pytest.fixture
def read_only_url(migrated_sqlite_url: str) -> Iterator[str]:
    """A database in a file and a folder that nobody may write to."""
    path = sqlite_path(migrated_sqlite_url)
    folder = path.parent / "closed"
    folder.mkdir()
    shutil.copyfile(path, folder / "x.db")
    (folder / "x.db").chmod(0o444)
    folder.chmod(0o555)
    yield f"sqlite:///{folder / 'x.db'}"
    folder.chmod(0o755)


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_file_that_may_not_be_written(read_only_url: str, journal: str):
    path = sqlite_path(read_only_url)
    if journal == "delete":
        path.parent.chmod(0o755)
        path.chmod(0o644)
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
        path.chmod(0o444)
        path.parent.chmod(0o555)
    content = path.read_bytes()

    done = _end(_start(read_only_url, *CREATE, before=_obey_permissions))

    assert (done.exit_code, done.stdout) == (5, "")
    message = f'error: the database file (is read-only|cannot be opened): "{read_only_url}"\n'
    assert re.fullmatch(message + "hint: check .*\n", done.stderr)
    assert path.read_bytes() == content
    checked = _end(_start(read_only_url, "config", "check", "-o", "json", before=_obey_permissions))
    assert checked.exit_code == 5
    if journal == "delete":
        listed = _end(_start(read_only_url, "role", "list", before=_obey_permissions))
        assert listed == Result(0, "id\tdescription\tprotected\tusers\n", "")


def test_the_default_database_in_a_folder_that_may_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    monkeypatch.chdir(folder)

    done = _end(_start("", *CREATE, before=_obey_permissions))

    told = 'error: the database file "usermgr.db" cannot be created: Permission denied\n'
    assert done == Result(5, "", told + "hint: check that its folder exists and is writable\n")
    checked = _end(_start("", "config", "check", before=_obey_permissions))
    assert checked.exit_code == 5
    assert "is not writable" in checked.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("size", [0, 20, 100, 4096, 20_480])
def test_a_file_that_was_cut_off(migrated_sqlite_url: str, size: int):
    path = sqlite_path(migrated_sqlite_url)
    os.truncate(path, size)

    for words in (CREATE, ("role", "list"), ("schema", "status"), ("config", "check")):
        done = run_inside(words, "", {"USERMGR_DATABASE_URL": migrated_sqlite_url})
        assert done.exit_code == 5, done
        assert "unexpected" not in done.stderr
    assert path.stat().st_size == size


def test_a_disk_that_is_full(migrated_sqlite_url: str, tmp_path: Path):
    """A small file system of its own, which needs no root: the kernel lends one to the process."""
    path = sqlite_path(migrated_sqlite_url)
    script = (
        'mount -t tmpfs -o size=400k none "$1" && cp "$2" "$1/x.db" && cd "$1" && '
        '"$3" -m usermgr seed --users 5000; echo "status $?"; '
        '"$3" -m usermgr user list -o json; echo "status $?"'
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*inside, disk, path, sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
        env={**process_environment(), "USERMGR_DATABASE_URL": "sqlite:///x.db"},
        check=False,
    )
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no file systems of one's own here: {done.stderr}")

    assert done.stdout == "status 5\n[]\nstatus 0\n"
    message = 'error: the disk is full: "sqlite:///x.db"\n'
    assert done.stderr == message + "hint: free space where the database file lies\n"


@pytest.fixture
def reader(migrated_sqlite_url: str) -> Iterator[sqlite3.Connection]:
    """A connection that reads a file without WAL, so that no writer of it can commit."""
    connection = sqlite3.connect(sqlite_path(migrated_sqlite_url), isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM roles").fetchall()
    yield connection
    connection.close()


def test_a_file_that_is_busy_at_the_commit(migrated_sqlite_url: str, reader: sqlite3.Connection):
    done = _end(_start(migrated_sqlite_url, *CREATE, USERMGR_LOCK_TIMEOUT="0.2"))

    assert (done.exit_code, done.stdout) == (5, "")
    assert done.stderr.startswith("error: the database is locked by another command: ")
    reader.execute("COMMIT")
    assert (
        _end(_start(migrated_sqlite_url, "role", "list")).stdout
        == "id\tdescription\tprotected\tusers\n"
    )
    assert broken_promises(migrated_sqlite_url) == {}


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_at_the_commit(
    migrated_sqlite_url: str, reader: sqlite3.Connection, sent: signal.Signals
):
    journal = Path(f"{sqlite_path(migrated_sqlite_url)}-journal")
    process = _start(migrated_sqlite_url, *CREATE, USERMGR_LOCK_TIMEOUT="60")
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size):
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.send_signal(sent)

    assert _end(process) == Result(-sent, "", "")
    reader.execute("COMMIT")
    assert (
        _end(_start(migrated_sqlite_url, "role", "list")).stdout
        == "id\tdescription\tprotected\tusers\n"
    )
    assert broken_promises(migrated_sqlite_url) == {}
    assert _end(_start(migrated_sqlite_url, *CREATE)).exit_code == 0
