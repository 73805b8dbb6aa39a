"""Migrations that wait: for a silent server, for a lock, for one another; and interrupts."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import psycopg2
import pytest
from sqlalchemy import make_url

from tests.migrations.challenge import execute, image, libpq_url, make_challenge, rows
from tests.support.commands import process_environment, run_inside
from tests.support.databases import PostgresDatabases, open_database
from tests.support.proxy import proxy
from usermgr.db import migrating, schema, waiting
from usermgr.db.migrating import LOCK_KEY
from usermgr.urls import sqlite_path


def start_init(url: str) -> subprocess.Popen[str]:
    """``schema init`` as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "usermgr", "schema", "init"],
        env={**process_environment(), "USERMGR_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "trigger", [b"server_version_num", b"advisory", b"current_schema", b"COMMIT\0"]
)
def test_a_server_that_falls_silent_is_given_up(
    postgresql_databases: PostgresDatabases,
    postgresql_url: str,
    trigger: bytes,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(waiting, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(migrating, "PATIENCE_SECONDS", 1)
    url = make_url(postgresql_databases.server.tcp_url).set(
        database=make_url(postgresql_url).database
    )
    with proxy((str(url.host), url.port or 5432), trigger, "silence") as between:
        through = url.set(host="127.0.0.1", port=between.port).update_query_dict(
            {"sslmode": "disable", "gssencmode": "disable"}
        )
        env = {
            "USERMGR_DATABASE_URL": through.render_as_string(False),
            "USERMGR_STATEMENT_TIMEOUT": "1",
        }
        done = run_inside(("schema", "init"), "", env)
    assert (done.exit_code, done.stdout) == (5, "")
    unknown = (
        "it is unknown whether" if trigger == b"COMMIT\0" else "the connection to the database"
    )
    assert unknown in done.stderr


def test_an_interrupt_while_the_file_is_locked(sqlite_url: str):
    database = open_database(sqlite_url)
    make_challenge(database)
    before = image(database)
    with closing(sqlite3.connect(sqlite_path(sqlite_url), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process = start_init(sqlite_url)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (130, "")
    assert stderr == "error: interrupted; what was not committed is undone\n"
    assert image(database) == before


def test_a_reader_of_the_file_is_waited_for(sqlite_url: str):
    """Without a write-ahead log a commit needs the moment in which nobody reads."""
    make_challenge(open_database(sqlite_url))
    with closing(sqlite3.connect(sqlite_path(sqlite_url), isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM users").fetchall()
        process = start_init(sqlite_url)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        other.execute("ROLLBACK")
        assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == 0


def test_who_waited_sees_what_the_first_committed(postgresql_url: str):
    """Whatever isolation the database gives to its transactions."""
    database = open_database(postgresql_url)
    name = rows(database, "SELECT current_database()")[0][0]
    isolation = "SET default_transaction_isolation = 'repeatable read'"
    execute(database, f'ALTER DATABASE "{name}" {isolation}')
    waiters = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with closing(psycopg2.connect(libpq_url(database))) as first, first.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        started = [start_init(postgresql_url) for _ in range(2)]
        deadline = time.monotonic() + 60
        while rows(database, waiters) != [(2,)] and time.monotonic() < deadline:
            time.sleep(0.05)
        first.rollback()
    ended = [(*process.communicate(timeout=60), process.returncode) for process in started]
    assert [status for _, _, status in ended] == [0, 0], ended
    assert schema.check(database) == ()
