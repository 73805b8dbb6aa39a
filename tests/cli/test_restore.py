"""Deleted users come back from the recycle bin, until it is emptied."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.commands import Command
from tests.support.consistency import broken_promises, content, stored_state
from tests.support.databases import open_database
from tests.support.people import create_company, create_user

PASSWORD = "correct horse battery"
VERIFY = ("user", "verify-password", "2", "--password-stdin")
SET = ("user", "set-password", "2", "--password-stdin")


@pytest.fixture(autouse=True)
def bruno(cli: Command) -> None:
    """User 2 holds a claim for a reason until an end."""
    create_company(cli)
    words = ("grant", "2", "reports:export", "--reason", "audit", "--expires", "2999-01-31")
    assert cli("user", *words).exit_code == 0


def _execute(url: str, statement: str) -> None:
    database = open_database(url)
    with database.connect() as connection:
        connection.execute(text(statement))
        connection.commit()
    database.engine.dispose()


def _bin(cli: Command, *more: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = cli("bin", "list", "-o", "json", *more).json
    return listed


@pytest.mark.parametrize("reference", ["2", "bruno@example.com", "BRUNO@Example.com"])
@pytest.mark.parametrize("words", [("2",), ("--search", "bruno")], ids=["single", "bulk"])
def test_everything_comes_back(
    cli: Command, database_url: str, reference: str, words: tuple[str, ...]
) -> None:
    assert cli(*SET, stdin=PASSWORD).exit_code == 0
    before, shown = content(database_url), cli("user", "show", "2", "-o", "json").json
    assert cli("user", "delete", *words, "--yes").exit_code == 0

    restored = cli("user", "restore", reference, "-o", "json")

    assert (restored.exit_code, restored.stderr, restored.json) == (0, "", shown)
    assert content(database_url) == before
    assert cli(*VERIFY, stdin=PASSWORD).exit_code == 0
    change = cli("user", "history", "2", "-o", "json").json[-1]
    assert (change["action"], change["command"]) == ("restore", "user restore")
    assert change["after"]["grants"][0]["reason"] == "audit"
    assert _bin(cli) == []
    assert broken_promises(database_url) == {}

    again = cli("user", "restore", reference)
    assert (again.exit_code, again.stdout) == (4, "")
    assert again.stderr == f'error: the user "{reference}" is not deleted\n'


def test_a_restore_can_be_undone(cli: Command, database_url: str) -> None:
    cli("user", "delete", "2", "--yes")
    deleted = content(database_url)
    cli("user", "restore", "2")
    operation = str(cli("operation", "list", "--limit", "1", "-o", "json").json[0]["id"])
    assert cli("undo", operation).exit_code == 0
    assert content(database_url) == deleted
    assert cli("user", "restore", "2").exit_code == 0


@pytest.mark.parametrize(
    ("meanwhile", "obstacle"),
    [
        (
            (("user", "update", "1", "--email", "bruno@example.com"),),
            "its former e-mail is taken",
        ),
        ((("role", "delete", "member"),), "its former role is gone"),
        ((("claim", "delete", "reports:export"),), "a claim that it held is gone"),
    ],
)
def test_what_stands_in_the_way_is_told(
    cli: Command, database_url: str, meanwhile: tuple[tuple[str, ...], ...], obstacle: str
) -> None:
    cli("user", "delete", "2", "--yes")
    for words in meanwhile:
        assert cli(*words).exit_code == 0
    before = stored_state(database_url)
    for reference in ("2", "bruno@example.com"):
        done = cli("user", "restore", reference)
        assert (done.exit_code, done.stdout) == (4, "")
        assert done.stderr == (
            f'error: the user 2 "bruno@example.com" cannot be brought back: {obstacle}\n'
            "hint: give whoever has the e-mail another one, or undo the operation that deleted the"
            " role or claim (a new one of the same name is another one), and repeat this\n"
        )
    assert stored_state(database_url) == before
    operation = cli("operation", "list", "--limit", "1", "-o", "json").json[0]["id"]
    assert cli("undo", str(operation)).exit_code == 0
    assert cli("user", "restore", "2").exit_code == 0


@pytest.mark.parametrize(
    ("reference", "status", "message"),
    [
        ("99", 3, 'the recycle bin holds no user "99"'),
        ("9" * 30, 3, f'the recycle bin holds no user "{"9" * 30}"'),
        ("nobody@example.com", 3, 'the recycle bin holds no user "nobody@example.com"'),
        ("1", 4, 'the user "1" is not deleted'),
        (" ", 2, "the user is empty"),
    ],
)
def test_nobody_to_bring_back(cli: Command, reference: str, status: int, message: str) -> None:
    done = cli("user", "restore", reference)
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.startswith(f"error: {message}\n")


def test_of_several_with_one_e_mail_the_last_deleted_comes_back(cli: Command) -> None:
    cli("user", "delete", "2", "--yes")
    for _ in range(2):
        user = str(create_user(cli, "Another", "bruno@example.com", "member"))
        cli("user", "delete", user, "--yes")
    assert [kept["id"] for kept in _bin(cli)] == [4, 3, 2]

    assert cli("user", "restore", "bruno@example.com", "-o", "json").json["id"] == 4
    assert cli("user", "restore", "2").exit_code == 4
    cli("user", "update", "4", "--email", "four@example.com")
    assert cli("user", "restore", "2", "-o", "json").json["name"] == "Bruno Lima"


def test_the_list_tells_who_when_and_until_when(cli: Command) -> None:
    create_user(cli, "Caio", "caio@example.com", "member")
    cli("user", "delete", "2", "3", "--yes")
    cli("user", "delete", "1", "--yes")
    operation = cli("operation", "list", "--limit", "1", "-o", "json").json[0]

    listed = _bin(cli, "--limit", "3")

    assert [kept["id"] for kept in listed] == [1, 2, 3]
    assert listed[0] == {
        "id": 1,
        "name": "Ana Souza",
        "email": "ana@example.com",
        "deleted_at": operation["started_at"],
        "actor": "tester",
        "operation_id": operation["id"],
        "kept_until": listed[0]["kept_until"],
    }
    kept = datetime.fromisoformat(listed[0]["kept_until"])
    assert kept - datetime.fromisoformat(operation["started_at"]) == timedelta(days=30)
    cut = cli("bin", "list", "--limit", "2", "--fields", "id")
    assert (cut.stdout, cut.stderr) == (
        "id\n1\n2\n",
        "note: 2 of 3 deleted users are shown, the last ones; more: --limit\n",
    )
    assert cli("bin", "list", "--limit", "3").stderr == ""


def _kept(url: str) -> list[int]:
    tables = ("recycled_users", "recycled_grants", "recycled_passwords")
    state = stored_state(url)
    return [len(state[table]) for table in tables]


def test_a_sweep_asks_before_the_time_and_keeps_what_is_newer(
    cli: Command, database_url: str
) -> None:
    cli(*SET, stdin=PASSWORD)
    cli("user", "delete", "2", "--yes")
    assert cli("bin", "sweep", "-o", "json").json == {"users": 0, "passwords": 0}
    refused = cli("bin", "sweep", "--older-than", "0")
    assert (refused.exit_code, refused.stdout, _kept(database_url)) == (2, "", [1, 1, 1])
    assert refused.stderr == (
        "error: this command would remove 1 deleted user for good: it asks for confirmation, and"
        " there is no terminal to ask on\nhint: pass --yes to confirm\n"
    )
    assert cli("bin", "sweep", "--older-than", "1", "--yes").exit_code == 0
    assert _kept(database_url) == [1, 1, 1]

    swept = cli("bin", "sweep", "--older-than", "0", "--yes", "-o", "json")

    assert (swept.exit_code, swept.json) == (0, {"users": 1, "passwords": 1})
    assert _kept(database_url) == [0, 0, 0]
    gone = cli("user", "restore", "2")
    assert (gone.exit_code, gone.stdout) == (3, "")
    assert gone.stderr == (
        'error: the recycle bin holds no user "2"\nhint: usermgr bin list shows whom it holds\n'
    )


def test_who_came_back_is_not_counted_by_a_sweep(cli: Command, database_url: str) -> None:
    cli("user", "delete", "2", "--yes")
    cli("user", "restore", "2")
    cli("user", "delete", "2", "--yes")
    assert len(cli("bin", "list", "-o", "json").json) == 1
    swept = cli("bin", "sweep", "--older-than", "0", "--yes", "-o", "json")
    assert (swept.json["users"], _kept(database_url)[0]) == (1, 0)


def test_what_is_too_old_goes_when_something_new_comes(cli: Command, database_url: str) -> None:
    env = {"USERMGR_RETENTION_DAYS": "0"}
    cli("user", "delete", "2", "--yes")
    cli("user", "update", "1", "--name", "Ana", env=env)
    assert _kept(database_url) == [1, 1, 0]
    cli("user", "set-password", "1", env=env)
    assert _kept(database_url) == [0, 0, 1]
    cli("user", "delete", "1", "--yes", env=env)
    assert _kept(database_url) == [1, 1, 0]


@pytest.mark.parametrize("words", [("--older-than", "-1"), ("--older-than", "x")])
def test_days_are_a_number(cli: Command, words: tuple[str, ...]) -> None:
    assert cli("bin", "sweep", *words, "--yes").exit_code == 2


def test_an_end_that_came_meanwhile_stays_one(cli: Command, database_url: str) -> None:
    cli("user", "delete", "2", "--yes")
    past = "UPDATE recycled_grants SET expires_at = '2001-01-01 00:00:00.000000'"
    _execute(database_url, past)
    assert cli("user", "restore", "2", "-o", "json").json["claims"] == []
    assert content(database_url)["user_claims"][-1][2] == "audit"
