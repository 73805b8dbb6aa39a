"""Who was erased stays erased: undo, restore, why and show --at say so, and guards hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Command
from tests.support.consistency import stored_state
from tests.support.people import create_company, create_user

PASSWORD = "correct horse battery"
NOT_KEPT = "the recycle bin does not keep {} of it any more"


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    create_company(cli)


def newest(cli: Command) -> str:
    """The id of the newest operation."""
    return str(cli("operation", "list", "--limit", "1", "-o", "json").json[0]["id"])


def _create_zelda(cli: Command) -> None:
    create_user(cli, "Zelda Quux", "zelda@example.com", "member", "--claim", "reports:read")


def _import_three(cli: Command) -> None:
    rows = "".join(f"{name},{name}@example.com,member\n" for name in ("zelda", "yuri", "xenia"))
    Path("three.csv").write_text(f"name,email,role\n{rows}")
    assert cli("user", "import", "three.csv").exit_code == 0


DONE: dict[str, tuple[tuple[str, ...], ...]] = {
    "create": (),
    "update": (("user", "update", "3", "--name", "Zelda Q."),),
    "grant": (("user", "grant", "3", "reports:export"),),
    "set-password": (("user", "set-password", "3", "--password-stdin"),),
    "delete": (("user", "delete", "3", "--yes"),),
    "restore": (("user", "delete", "3", "--yes"), ("user", "restore", "3")),
    "bulk": (("user", "disable", "--search", "zelda"),),
    "bulk delete": (("user", "delete", "--search", "zelda", "--yes"),),
}


@pytest.mark.parametrize("done", DONE)
def test_undo_leaves_an_erased_user_and_says_so(cli: Command, database_url: str, done: str) -> None:
    _create_zelda(cli)
    for words in DONE[done]:
        assert cli(*words, stdin=PASSWORD).exit_code == 0
    operation = newest(cli)
    assert cli("user", "erase", "3", "--yes").exit_code == 0
    before = stored_state(database_url)

    undone = cli("undo", operation, "--yes", "-o", "json")

    assert undone.exit_code == 6
    assert (undone.json["left"], undone.json["operation_id"]) == (1, None)
    assert ": was erased" in undone.stderr
    assert "zelda" not in undone.stderr.lower()
    assert stored_state(database_url) == before
    strict = cli("undo", operation, "--yes", "--strict")
    assert (strict.exit_code, strict.stdout) == (4, "")


def test_an_erasure_itself_is_not_undone(cli: Command) -> None:
    cli("user", "erase", "2", "--yes")
    done = cli("undo", newest(cli), "--yes")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "erased a person's data: that cannot be undone\nhint: " in done.stderr


def test_of_many_that_were_created_the_erased_one_stays(cli: Command, database_url: str) -> None:
    _import_three(cli)
    operation = newest(cli)
    erased = cli("user", "erase", "zelda@example.com", "--yes", "-o", "json").json["id"]

    undone = cli("undo", operation, "--yes", "--fields", "users_deleted,left")

    assert (undone.exit_code, undone.rows[1]) == (6, ["2", "1"])
    assert f'user {erased} "erased-{erased}@erased.invalid": was erased' in undone.stderr
    assert [user["id"] for user in cli("user", "list", "-o", "json").json] == [1, 2, erased]


def test_of_many_that_were_deleted_the_erased_one_does_not_come_back(cli: Command) -> None:
    """They went without a change of their own, so only a number tells of the one."""
    _import_three(cli)
    assert cli("undo", newest(cli), "--yes").exit_code == 0
    operation = newest(cli)
    assert cli("user", "erase", "zelda@example.com", "--yes").exit_code == 0

    undone = cli("undo", operation, "--yes", "--fields", "users_restored,left")

    assert (undone.exit_code, undone.rows[1]) == (6, ["2", "1"])
    assert f'operation {operation} "undo": {NOT_KEPT.format("1 user")}' in undone.stderr
    names = [user["name"] for user in cli("user", "list", "-o", "json", "--sort", "name").json]
    assert names == ["Ana Souza", "Bruno Lima", "xenia", "yuri"]


@pytest.mark.parametrize("then", [(), ("user", "delete", "3", "--yes")])
def test_restore_says_so(cli: Command, database_url: str, then: tuple[str, ...]) -> None:
    """Deleted before the erasure, and the pseudonym deleted after it."""
    _create_zelda(cli)
    if not then:
        cli("user", "delete", "3", "--yes")
    cli("user", "erase", "3", "--yes")
    if then:
        assert cli(*then).exit_code == 0
    before = stored_state(database_url)
    done = cli("user", "restore", "3")
    assert (done.exit_code, done.stdout) == (4, "")
    message = "error: the user 3 was erased\nhint: nothing brings an erased user back\n"
    assert done.stderr == message
    assert cli("user", "restore", "zelda@example.com").exit_code == 3
    assert stored_state(database_url) == before


def test_why_says_so(cli: Command) -> None:
    _create_zelda(cli)
    cli("user", "erase", "3", "--yes")
    told = cli("why", "3", "reports:read", "-o", "json").json
    assert (told["granted"], told["counts"]) == (False, False)
    assert told["because"] == (
        "it is not granted, and what was before the user was erased is not known;"
        " the user is inactive"
    )
    assert (told["command"], told["operation_id"]) == ("user erase", int(newest(cli)))

    cli("user", "grant", "3", "reports:read")
    told = cli("why", "3", "reports:read", "-o", "json").json
    assert (told["because"], told["command"]) == ("the user is inactive", "user grant")


def _at(cli: Command, user: str, at: str) -> tuple[int, Any]:
    shown = cli("user", "show", user, "--at", at, "-o", "json")
    return shown.exit_code, shown.json if shown.exit_code == 0 else shown.stderr


def test_show_at_says_so(cli: Command) -> None:
    before = cli("operation", "list", "--limit", "1", "-o", "json").json[0]["started_at"]
    _create_zelda(cli)
    cli("user", "update", "3", "--name", "Zelda Q.")
    cli("user", "erase", "3", "--yes")
    cli("user", "enable", "3")
    created, updated, erased, enabled = (
        change["at"] for change in cli("user", "history", "3", "-o", "json").json
    )

    for time in (created, updated):
        status, told = _at(cli, "3", time)
        assert status == 3
        assert "the user 3 was erased: nothing tells any more how it was at" in told
    assert _at(cli, "3", before)[0] == 3
    assert "there was no user" in _at(cli, "3", before)[1]
    assert _at(cli, "3", erased)[1]["active"] is False
    assert _at(cli, "3", enabled)[1]["active"] is True
    assert _at(cli, "erased-3@erased.invalid", erased)[1]["name"] == "erased"


def test_show_at_of_an_erased_user_who_was_deleted(cli: Command) -> None:
    _create_zelda(cli)
    cli("user", "delete", "3", "--yes")
    cli("user", "erase", "3", "--yes")
    created, deleted, erased = (
        change["at"] for change in cli("user", "history", "3", "-o", "json").json
    )
    assert "was erased" in _at(cli, "3", created)[1]
    for time in (deleted, erased):
        assert _at(cli, "3", time)[0] == 3
        assert "there was no user" in _at(cli, "3", time)[1]


def test_show_at_of_an_erased_user_who_was_created_with_others(cli: Command) -> None:
    _import_three(cli)
    cli("user", "erase", "3", "--yes")
    created, erased = (change["at"] for change in cli("user", "history", "3", "-o", "json").json)
    assert "was erased" in _at(cli, "3", created)[1]
    assert _at(cli, "3", erased)[1]["name"] == "erased"


@pytest.mark.parametrize(
    ("noun", "name"), [("role", "admin"), ("claim", "reports:read")], ids=["role", "claim"]
)
def test_the_last_holder_of_what_is_protected_is_not_erased(
    cli: Command, database_url: str, noun: str, name: str
) -> None:
    assert cli(noun, "protect", name).exit_code == 0
    before = stored_state(database_url)
    done = cli("user", "erase", "ana@example.com", "--yes")
    assert (done.exit_code, done.stdout) == (7, "")
    told = f'error: no active user would be left with the protected {noun} "{name}"\n'
    assert done.stderr.startswith(told)
    assert stored_state(database_url) == before
    create_user(cli, "Eva", "eva@example.com", "admin", "--claim", "reports:read")
    assert cli("user", "erase", "ana@example.com", "--yes").exit_code == 0
