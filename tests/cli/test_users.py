"""user create, show, update, enable, disable, grant, revoke, delete: on both databases."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Engine, event

from tests.support.commands import Command
from tests.support.people import USER_FIELDS, create_company, create_user

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    create_company(cli)


def _show(cli: Command, user: str) -> dict[str, object]:
    shown: dict[str, object] = cli("user", "show", user, "-o", "json").json
    return shown


def test_create_shows_the_whole_record(cli: Command) -> None:
    done = cli(
        *("user", "create", "--name", "  Rui  Alves ", "--email", " RUI@Exämple.COM"),
        *("--role", "ADMIN", "--claim", "Reports:Read", "--claim", "2", "--no-password"),
        *("-o", "json"),
    )
    assert (done.exit_code, done.stderr) == (0, "")
    record = done.json
    assert list(record) == USER_FIELDS
    assert INSTANT.fullmatch(record.pop("created_at"))
    assert record == {
        "id": 3,
        "name": "Rui  Alves",
        "email": "rui@xn--exmple-cua.com",
        "role_id": 1,
        "role": "admin",
        "claims": ["reports:export", "reports:read"],
        "active": True,
        "has_password": False,
        "version": 1,
        "updated_at": None,
    }
    shown = _show(cli, "rui@EXÄMPLE.com")
    assert shown.pop("created_at")
    assert shown == record


def test_create_inactive(cli: Command) -> None:
    user_id = create_user(cli, "Eva", "eva@example.com", "member", "--inactive")
    assert _show(cli, str(user_id))["active"] is False


@pytest.mark.parametrize(
    ("change", "exit_code", "message"),
    [
        ({"--email": "ANA@EXAMPLE.COM"}, 4, 'the e-mail "ana@example.com" is taken'),
        ({"--role": "boss"}, 3, 'no role "boss"'),
        ({"--role": "99"}, 3, 'no role "99"'),
        ({"--claim": "nothing"}, 3, 'no claim "nothing"'),
        ({"--email": "not an address"}, 2, '"not an address" is not a valid e-mail address'),
        ({"--name": "   "}, 2, "the user name is empty"),
        ({"--name": "x" * 201}, 2, f'the user name "{"x" * 20}…" has 201 characters'),
    ],
)
def test_create_refuses(cli: Command, change: dict[str, str], exit_code: int, message: str) -> None:
    options = {"--name": "Rui", "--email": "rui@example.com", "--role": "admin"} | change
    words = [word for pair in options.items() for word in pair]
    done = cli("user", "create", *words, "--no-password")
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert done.stderr.splitlines()[0] == f"error: {message}"
    assert done.stderr.splitlines()[1].startswith("hint: ")
    assert len(cli("user", "list", "-o", "json").json) == 2


def test_create_if_not_exists_leaves_the_user_alone(cli: Command) -> None:
    before = _show(cli, "ana@example.com")
    operations = cli("operation", "list").stdout
    done = cli(
        *("user", "create", "--name", "Other", "--email", "ANA@example.com", "--role", "member"),
        *("--if-not-exists", "-o", "json"),
    )
    assert (done.exit_code, done.json) == (0, before)
    note = 'note: the user "ana@example.com" exists already; it was left as it is\n'
    assert done.stderr == note
    assert cli("operation", "list").stdout == operations


def test_create_if_not_exists_creates(cli: Command) -> None:
    done = cli(
        *("user", "create", "--name", "Rui", "--email", "rui@example.com", "--role", "member"),
        *("--if-not-exists", "--no-password", "--fields", "id,version"),
    )
    assert (done.exit_code, done.stdout, done.stderr) == (0, "id\tversion\n3\t1\n", "")


def test_update_changes_what_is_given(cli: Command) -> None:
    before = _show(cli, "1")
    done = cli("user", "update", "1", "--email", "Ana.Souza@Example.com", "-o", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    after = done.json
    assert INSTANT.fullmatch(after["updated_at"])
    assert after == before | {
        "email": "ana.souza@example.com",
        "version": 2,
        "updated_at": after["updated_at"],
    }
    cli("user", "update", "1", "--name", "Ana S", "--role", "member")
    final = _show(cli, "1")
    assert (final["name"], final["role"], final["role_id"], final["version"]) == (
        *("Ana S", "member", 2),
        3,
    )


def test_an_update_to_what_is_there_changes_nothing(cli: Command) -> None:
    before = _show(cli, "1")
    operations = cli("operation", "list").stdout
    done = cli("user", "update", "1", "--name", "Ana Souza", "--role", "ADMIN", "-o", "json")
    assert (done.exit_code, done.json) == (0, before)
    assert cli("operation", "list").stdout == operations


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (["1", "--email", "BRUNO@example.com"], 4, 'the e-mail "bruno@example.com" is taken'),
        (["1", "--role", "boss"], 3, 'no role "boss"'),
        (["nobody@example.com", "--name", "X"], 3, 'no user "nobody@example.com"'),
        (["99999999999999999999", "--name", "X"], 3, 'no user "99999999999999999999"'),
        (["1"], 2, "nothing to change"),
    ],
)
def test_update_refuses(cli: Command, words: list[str], exit_code: int, message: str) -> None:
    before = cli("user", "list").stdout
    done = cli("user", "update", *words)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert done.stderr.startswith(f"error: {message}\nhint: ")
    assert cli("user", "list").stdout == before


def test_disable_and_enable(cli: Command) -> None:
    disabled = cli("user", "disable", "ana@example.com", "-o", "json")
    assert (disabled.json["active"], disabled.json["version"]) == (False, 2)
    again = cli("user", "disable", "1", "-o", "json")
    assert again.json == disabled.json
    enabled = cli("user", "enable", "1", "bruno@example.com", "-o", "json")
    assert [(u["id"], u["active"], u["version"]) for u in enabled.json] == [
        (1, True, 3),
        (2, True, 1),
    ]


def test_grant_and_revoke(cli: Command) -> None:
    granted = cli("user", "grant", "1", "REPORTS:EXPORT", "reports:read", "-o", "json").json
    assert (granted["claims"], granted["version"]) == (["reports:export", "reports:read"], 2)
    assert cli("user", "grant", "1", "reports:read", "-o", "json").json == granted
    revoked = cli("user", "revoke", "1", "1", "-o", "json").json
    assert (revoked["claims"], revoked["version"]) == (["reports:export"], 3)
    assert cli("user", "revoke", "1", "reports:read", "-o", "json").json == revoked
    missing = cli("user", "grant", "1", "reports:export", "nothing")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert missing.stderr.startswith('error: no claim "nothing"\nhint: ')


def test_delete_needs_yes_without_a_terminal(cli: Command) -> None:
    done = cli("user", "delete", "ana@example.com")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: this command asks for confirmation, and there is no terminal to ask on\n"
        "hint: pass --yes to confirm\n"
    )
    assert _show(cli, "1")["id"] == 1


def test_delete_with_yes_does_not_look_who_it_is_first(cli: Command) -> None:
    connected: list[object] = []
    note = connected.append
    event.listen(Engine, "engine_connect", note)
    try:
        assert cli("user", "delete", "1", "--yes").exit_code == 0
    finally:
        event.remove(Engine, "engine_connect", note)
    assert len(connected) == 1


def test_delete_takes_exactly_what_is_named(cli: Command) -> None:
    before = _show(cli, "1")
    assert cli("user", "delete", "--yes").exit_code == 2
    done = cli("user", "delete", "ana@example.com", "--yes", "-o", "json")
    assert (done.exit_code, done.json) == (0, before)
    assert cli("user", "show", "1").exit_code == 3
    assert [user["id"] for user in cli("user", "list", "-o", "json").json] == [2]


def test_delete_of_several_is_all_or_nothing(cli: Command) -> None:
    done = cli("--yes", "user", "delete", "1", "nobody@example.com", "2")
    assert (done.exit_code, done.stdout) == (3, "")
    assert len(cli("user", "list", "-o", "json").json) == 2
    both = cli("--yes", "user", "delete", "1", "2", "-o", "json")
    assert [user["id"] for user in both.json] == [1, 2]
    assert cli("user", "list", "-o", "json").stdout == "[]\n"


def test_an_id_is_never_used_twice(cli: Command) -> None:
    cli("user", "delete", "2", "--yes")
    created = create_user(cli, "New", "new@example.com", "member")
    assert created > 2
    cli("claim", "delete", "reports:export")
    assert cli("claim", "create", "again", "-o", "json").json["id"] > 2


def test_a_user_that_is_named_twice_is_one_user(cli: Command) -> None:
    disabled = cli("user", "disable", "2", "BRUNO@example.com", "-o", "json")
    assert (disabled.exit_code, disabled.json["version"]) == (0, 2)
    deleted = cli("user", "delete", "2", "bruno@example.com", "2", "--yes", "-o", "json")
    assert (deleted.exit_code, deleted.json["id"]) == (0, 2)
    assert [user["id"] for user in cli("user", "list", "-o", "json").json] == [1]


def test_taking_away_a_password_that_is_not_there_changes_nothing(cli: Command) -> None:
    before = _show(cli, "1")
    assert cli("user", "set-password", "1", "--no-password", "-o", "json").json == before
