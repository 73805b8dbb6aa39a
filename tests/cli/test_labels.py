"""role ... and claim ...: what they have in common, and what only claims have."""

from __future__ import annotations

import pytest

from tests.support.commands import Command
from tests.support.people import create_company, create_user


@pytest.fixture(params=["role", "claim"])
def noun(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _record(noun: str, label_id: int, name: str, users: int = 0, active: bool = True) -> object:
    record: dict[str, object] = {"id": label_id, "description": name}
    if noun == "claim":
        record["active"] = active
    return record | {"protected": False, "users": users}


def test_create_show_list(cli: Command, noun: str) -> None:
    created = cli(noun, "create", "  Überblick ", "-o", "json")
    assert (created.exit_code, created.stderr) == (0, "")
    assert created.json == _record(noun, 1, "Überblick")
    cli(noun, "create", "second")
    assert cli(noun, "show", "ÜBERBLICK", "-o", "json").json == created.json
    assert cli(noun, "show", "1", "-o", "json").json == created.json
    listed = cli(noun, "list", "-o", "json").json
    assert listed == [created.json, _record(noun, 2, "second")]


def test_names_are_unique_in_any_case(cli: Command, noun: str) -> None:
    cli(noun, "create", "Überblick")
    done = cli(noun, "create", "überblick")
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr.startswith(f'error: the {noun} "überblick" exists already\nhint: ')


def test_if_not_exists(cli: Command, noun: str) -> None:
    first = cli(noun, "create", "Admin", "--if-not-exists", "-o", "json")
    again = cli(noun, "create", "ADMIN", "--if-not-exists", "-o", "json")
    assert (first.exit_code, first.stderr) == (0, "")
    assert (again.exit_code, again.json) == (0, first.json)
    assert again.stderr == f'note: the {noun} "Admin" exists already\n'
    assert cli(noun, "create", "admin", "--if-not-exists", "-q").stderr == ""
    assert len(cli("operation", "list", "-o", "json").json) == 1


def test_rename(cli: Command, noun: str) -> None:
    cli(noun, "create", "one")
    cli(noun, "create", "two")
    assert cli(noun, "update", "one", "--name", "ONE", "-o", "json").json == _record(noun, 1, "ONE")
    taken = cli(noun, "update", "one", "--name", "Two")
    assert (taken.exit_code, taken.stdout) == (4, "")
    assert taken.stderr.startswith(f'error: the {noun} "Two" exists already\n')
    missing = cli(noun, "update", "three", "--name", "four")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert missing.stderr.startswith(f'error: no {noun} "three"\n')


@pytest.mark.parametrize("name", ["", "  ", "42", "a\nb", "a\x00b", "x" * 201])
def test_names_that_are_refused(cli: Command, noun: str, name: str) -> None:
    done = cli(noun, "create", name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: the {noun} name ")
    assert cli(noun, "list", "-o", "json").json == []


def test_delete(cli: Command, noun: str) -> None:
    cli(noun, "create", "unused")
    assert cli(noun, "delete", "UNUSED", "-o", "json").json == _record(noun, 1, "unused")
    assert cli(noun, "list", "-o", "json").json == []
    assert cli(noun, "delete", "unused").exit_code == 3


def test_what_is_in_use_is_not_deleted(cli: Command) -> None:
    create_company(cli)
    create_user(cli, "Caio", "caio@example.com", "admin", "--claim", "reports:read")
    role = cli("role", "delete", "Admin")
    assert (role.exit_code, role.stdout) == (4, "")
    assert role.stderr == (
        'error: the role "admin" is in use by 2 users\n'
        'hint: find them with: usermgr user list --role "admin"\n'
    )
    cli("user", "delete", "caio@example.com", "--yes")
    claim = cli("claim", "delete", "reports:read", "-o", "json")
    assert (claim.exit_code, claim.stdout) == (4, "")
    assert '"message": "the claim \\"reports:read\\" is in use by 1 user"' in claim.stderr
    assert '"details": {"users": 1}' in claim.stderr


def test_the_number_of_users(cli: Command) -> None:
    create_company(cli)
    assert cli("role", "show", "admin", "-o", "json").json["users"] == 1
    claims = cli("claim", "list", "-o", "json").json
    assert [(claim["description"], claim["users"]) for claim in claims] == [
        ("reports:read", 1),
        ("reports:export", 0),
    ]


def test_claims_can_be_disabled_and_stay_granted(cli: Command) -> None:
    create_company(cli)
    disabled = cli("claim", "disable", "reports:read", "-o", "json")
    assert disabled.json == _record("claim", 1, "reports:read", users=1, active=False)
    assert cli("claim", "disable", "1", "-o", "json").json == disabled.json
    assert cli("user", "show", "1", "-o", "json").json["claims"] == ["reports:read"]
    assert cli("claim", "enable", "1", "-o", "json").json["active"] is True


def test_several_claims_are_disabled_and_enabled_or_none(cli: Command) -> None:
    create_company(cli)
    both = cli("claim", "disable", "reports:export", "REPORTS:READ", "2", "-o", "json")
    assert (both.exit_code, both.json) == (
        0,
        [
            _record("claim", 2, "reports:export", active=False),
            _record("claim", 1, "reports:read", users=1, active=False),
        ],
    )
    operation = cli("operation", "list", "--limit", "1", "-o", "json").json[0]
    assert (operation["command"], operation["counts"]) == ("claim disable", {"claim.update": 2})

    missing = cli("claim", "enable", "reports:read", "none")

    assert (missing.exit_code, missing.stdout) == (3, "")
    assert missing.stderr.startswith('error: no claim "none"\n')
    assert {claim["active"] for claim in cli("claim", "list", "-o", "json").json} == {False}
