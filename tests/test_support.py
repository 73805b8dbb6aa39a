"""The tests' own ground: a real server, separate databases, nothing of the machine's settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import make_url, select, text

from tests.support.commands import Command, InsideCommand, process_environment
from tests.support.consistency import broken_promises, stored_state
from tests.support.databases import CollectStatements, PostgresDatabases
from tests.support.filling import fill
from tests.support.people import create_user
from usermgr.config import Settings, load_settings
from usermgr.db.engine import Database
from usermgr.db.models import roles

_SERVER_SCRIPT = """
import sys, time
from tests.support.postgres import running_server
with running_server() as server:
    print(server.url, flush=True)
    time.sleep(600)
"""


def test_a_test_sees_an_empty_folder_and_no_setting(tmp_path: Path):
    settings = load_settings()

    assert Path.cwd() == tmp_path
    assert list(tmp_path.iterdir()) == []
    assert settings == Settings(sources=settings.sources)


def test_a_database_has_the_schema_and_no_rows(database: Database):
    with database.read() as connection:
        assert connection.execute(select(roles)).all() == []


def test_statements_are_collected_inside_the_block_only(
    database: Database, statements: CollectStatements
):
    with statements(database) as sent, database.connect() as connection:
        connection.execute(text("SELECT 1"))
    with database.connect() as connection:
        connection.execute(text("SELECT 2"))

    assert sent == ["SELECT 1"]


def test_a_command_runs_inside_the_process_and_as_a_process(cli: Command, cli_process: Command):
    assert cli("--version") == cli_process("--version")


def test_what_is_filled_is_as_the_commands_made_it(database_url: str, other_database_url: str):
    made, filled = InsideCommand(database_url), InsideCommand(other_database_url)

    fill(made, "who works here", _create_somebody)
    fill(filled, "who works here", lambda _: pytest.fail("the rows were not kept"))

    assert stored_state(other_database_url) == stored_state(database_url)
    assert made("role", "list").stdout == filled("role", "list").stdout != ""
    for cli in (made, filled):
        _create_somebody(cli, "n")
    assert filled("user", "list", "--fields", "id,email").rows == [
        *(["id", "email"], ["1", "m@example.com"], ["2", "n@example.com"])
    ]
    lines = ("operation", "list", "--fields", "id,command,counts")
    assert made(*lines).stdout == filled(*lines).stdout
    assert broken_promises(other_database_url) == {}


def test_what_is_not_untouched_is_filled_by_commands(
    cli: Command, database_url: str, other_database_url: str
):
    fill(InsideCommand(other_database_url), "somebody else", _create_somebody)
    assert cli("claim", "create", "read").exit_code == 0

    fill(cli, "somebody else", _create_somebody)

    assert cli("claim", "list", "--fields", "description").rows == [
        *(["description"], ["read"], ["write m"])
    ]


def _create_somebody(cli: Command, name: str = "m") -> None:
    for kind, label in (("role", f"role {name}"), ("claim", f"write {name}")):
        assert cli(kind, "create", label).exit_code == 0
    words = (
        "--claim",
        f"write {name}",
    )
    create_user(cli, name.upper(), f"{name}@example.com", f"role {name}", *words)
    assert cli("user", "update", f"{name}@example.com", "--name", "é;'\"\\").exit_code == 0


def test_postgresql_folds_the_case_of_all_letters(postgresql_url: str):
    connection = psycopg2.connect(postgresql_url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT lower('ÄÉŁ'), current_setting('server_encoding')")
        assert cursor.fetchone() == ("äéł", "UTF8")
    connection.close()


def test_databases_are_dropped_although_somebody_is_connected(
    postgresql_databases: PostgresDatabases,
):
    name = postgresql_databases.create()
    connection = psycopg2.connect(postgresql_databases.server.database(name))
    postgresql_databases.drop(name)

    with pytest.raises(psycopg2.OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()


def test_the_server_ends_and_leaves_nothing_when_the_tests_are_killed():
    tests = subprocess.Popen(
        [sys.executable, "-c", _SERVER_SCRIPT],
        stdout=subprocess.PIPE,
        text=True,
        env=process_environment(),
    )
    with tests:
        assert tests.stdout is not None
        url = tests.stdout.readline().strip()
        psycopg2.connect(url).close()
        os.kill(tests.pid, signal.SIGKILL)

    folder = Path(str(make_url(url).query["host"]))
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folder.exists()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(url)
