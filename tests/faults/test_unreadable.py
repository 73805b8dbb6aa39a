"""Values that another program stored and that cannot be read are told by where they stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.commands import Command
from tests.support.databases import open_database
from tests.support.people import create_company

HINT = "hint: another program stored them: correct them with a SQL client\n"

STATEMENTS = {
    "UPDATE users SET created_at = 1700000000 WHERE id = 2": "users.created_at of id 2 is not a "
    "time",
    "UPDATE users SET updated_at = 'yesterday' WHERE id = 1": "users.updated_at of id 1 is not a "
    "time",
    "UPDATE users SET created_at = '0001-01-01 00:00:00+01:00' WHERE id = 1": "users.created_at of "
    "id 1 is not a time",
    "UPDATE users SET name = CAST(x'ff41' AS text) WHERE id = 2": "users.name of id 2 is not text",
    "UPDATE users SET name = x'ff41' WHERE id = 2": "users.name of id 2 is not text",
    "UPDATE roles SET description = CAST(x'ff41' AS text) WHERE id = 1": "roles.description of id "
    "1 is not text",
    "UPDATE claims SET description = x'41' WHERE id = 1": "claims.description of id 1 is not text",
}
UNASKED = "UPDATE users SET updated_at"
STATEMENTS_POSTGRESQL = {
    "UPDATE users SET updated_at = '12000-01-01' WHERE id = 1": "users.updated_at of id 1 is not a "
    "time between the years 1 and 9999",
    "UPDATE users SET created_at = '0044-03-15 BC' WHERE id = 2": "users.created_at of id 2 is not "
    "a time between the years 1 and 9999",
}


def _execute(url: str, statement: str) -> None:
    database = open_database(url)
    with database.connect() as connection:
        connection.execute(text(statement))
        connection.commit()
    database.engine.dispose()


@pytest.mark.parametrize(
    ("backend", "statement", "found"),
    [
        *(("sqlite", *each) for each in STATEMENTS.items()),
        *(("postgresql", *each) for each in STATEMENTS_POSTGRESQL.items()),
    ],
    indirect=["backend"],
)
def test_a_value_that_cannot_be_read_is_told_by_its_place(
    cli: Command, database_url: str, statement: str, found: str
) -> None:
    create_company(cli)
    cli("user", "grant", "1", "1")
    _execute(database_url, statement)

    for words in (("user", "list"), ("user", "list", "--all", "-o", "json")):
        done = cli(*words)
        assert done.exit_code == 5
        told = json.loads(done.stderr)["error"]["message"] if "json" in words else done.stderr
        assert f" holds values that cannot be read: {found}" in told
    assert cli("user", "list").stderr.endswith(f"{found}\n{HINT}")

    # SQLite makes text of the blobs that it joins, and nobody asked for updated_at.
    if "sqlite" in database_url and not statement.startswith(("UPDATE claims", UNASKED)):
        for name in ("x.csv", "x.jsonl"):
            done = cli("user", "export", name, "--fields", "name,role,claims,created_at")
            assert (done.exit_code, Path(name).exists()) == (5, False)
            assert done.stderr.endswith(f"{found}\n{HINT}")

    checked = cli("schema", "check")
    assert checked.exit_code == 5
    assert checked.stdout == f"difference\taddition\n{found}\tfalse\n"


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_value_that_cannot_be_read_stops_a_change(cli: Command, database_url: str) -> None:
    create_company(cli)
    _execute(database_url, "UPDATE roles SET description = CAST(x'ff41' AS text) WHERE id = 2")

    done = cli("user", "update", "1", "--role", "somebody")

    assert done.exit_code == 5
    assert done.stderr.endswith(f"roles.description of id 2 is not text\n{HINT}")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_of_many_values_that_cannot_be_read_some_are_told(cli: Command, database_url: str) -> None:
    cli("seed", "--users", "50", "-q")
    _execute(database_url, "UPDATE users SET created_at = 'once'")

    done = cli("schema", "check", "-o", "json").json

    words = [difference["difference"] for difference in done]
    assert words == [
        *(f"users.created_at of id {number} is not a time" for number in range(1, 11)),
        "users.created_at of more rows is not a time",
    ]


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_time_without_end_is_told(cli: Command, database_url: str) -> None:
    """The driver reads it as the last instant that Python knows."""
    create_company(cli)
    _execute(database_url, "UPDATE users SET created_at = 'infinity' WHERE id = 2")

    checked = cli("schema", "check")

    assert checked.exit_code == 5
    assert "users.created_at of id 2 is not a time between" in checked.stdout
