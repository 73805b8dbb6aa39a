"""Seals and erasures beside transactions that are still running."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import select, text

from tests.support.commands import Command, Result
from tests.support.databases import open_database
from tests.support.people import create_company
from usermgr.db.models import metadata
from usermgr.records import UserChanges
from usermgr.services.roles import create_role
from usermgr.services.users import update_user

only_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
"""SQLite lets one transaction write at a time."""


@only_postgresql
def test_an_operation_that_still_runs_is_in_the_next_seal(cli: Command, database_url: str) -> None:
    create_company(cli)
    slow = open_database(database_url)
    with slow.operation("slow", "tester") as op:
        create_role(op, "late", if_not_exists=False)
        assert cli("user", "disable", "1").exit_code == 0
        first = cli("audit", "seal", "-o", "json").json
        assert cli("audit", "verify", "-o", "json").json["unsealed"] == 0
    slow.engine.dispose()
    newest = cli("operation", "list", "-o", "json").json
    assert [operation["id"] for operation in newest[:2]] == [op.id + 1, op.id]

    assert cli("audit", "verify", "-o", "json").json["unsealed"] == 1
    second = cli("audit", "seal", "-o", "json").json

    assert (first["operations"], first["changes"]) == (7, 7)
    assert (second["operations"], second["changes"]) == (1, 1)
    assert cli("audit", "verify", "-o", "json").json["operations"] == 8


@only_postgresql
def test_an_erasure_waits_for_a_change_and_takes_it_along(
    cli: Command, cli_process: Command, database_url: str
) -> None:
    create_company(cli)
    ended: list[Result] = []
    database = open_database(database_url)
    with database.operation("slow", "tester") as op:
        update_user(op, "1", UserChanges(name="Ana Quux"))
        thread = threading.Thread(
            target=lambda: ended.append(cli_process("user", "erase", "1", "--yes", "-o", "json"))
        )
        thread.start()
        _wait_until_somebody_waits(database_url)
    thread.join()
    assert (ended[0].exit_code, ended[0].json["changes"]) == (0, 2)
    with database.connect() as connection:
        stored = [
            str(tuple(row))
            for table in metadata.sorted_tables
            for row in connection.execute(select(table))
        ]
    database.engine.dispose()
    assert [cells for cells in stored if "Quux" in cells or "ana@" in cells] == []
    assert cli("audit", "verify").exit_code == 0


def _wait_until_somebody_waits(url: str) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock'"
    )
    database = open_database(url)
    deadline = time.monotonic() + 60
    with database.connect() as connection:
        while not connection.execute(waiting).scalar_one():
            assert time.monotonic() < deadline, "nobody waits"
            connection.rollback()
            time.sleep(0.01)
    database.engine.dispose()


def test_changes_that_an_import_made_are_sealed_and_erased_as_others(cli: Command) -> None:
    """Their images are made by the database."""
    create_company(cli)
    header = "name,email,role,claims\n"
    for name in ("Ana Ünïcode", 'Ana "Quux" \\ 😀'):
        quoted = name.replace('"', '""')
        rows = f'"{quoted}",ana@example.com,member,reports:export\n'
        Path("people.csv").write_text(header + rows, encoding="utf-8")
        done = cli("user", "import", "people.csv", "--on-conflict", "update", "-o", "json")
        assert (done.exit_code, done.json["updated"]) == (0, 1)
    anchor = cli("audit", "seal", "-o", "json").json["digest"]
    assert cli("audit", "verify", "--anchor", anchor).exit_code == 0

    erased = cli("user", "erase", "1", "--yes", "-o", "json")

    assert (erased.exit_code, erased.json["changes"]) == (0, 3)
    verified = cli("audit", "verify", "--anchor", anchor, "-o", "json")
    assert (verified.exit_code, verified.json["erased"]) == (0, 3)
