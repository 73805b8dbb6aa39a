"""Protected roles and claims: what keeps their last active user, and what does not."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.support.commands import Command
from tests.support.databases import open_database
from tests.support.people import create_company, create_user

LAST_ADMIN = (
    'error: no active user would be left with the protected role "admin"\n'
    "hint: give the role to another active user first, or take the protection away: "
    'usermgr role unprotect "admin"\n'
)
LAST_READER = (
    'error: no active user would be left with the protected claim "reports:read"\n'
    "hint: give the claim to another active user first, or take the protection away: "
    'usermgr claim unprotect "reports:read"\n'
)
NOT_ADMIN = (
    ("user", "delete", "ana@example.com", "--yes"),
    ("user", "disable", "ana@example.com"),
    ("user", "disable", "bruno@example.com", "ana@example.com"),
    ("user", "update", "ana@example.com", "--role", "member"),
)
NOT_READER = (
    ("user", "delete", "ana@example.com", "--yes"),
    ("user", "disable", "ana@example.com"),
    ("user", "revoke", "ana@example.com", "reports:export", "reports:read"),
)


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    create_company(cli)


def _protect_admin(cli: Command) -> None:
    assert cli("role", "protect", "admin").exit_code == 0


def _protect_reading(cli: Command) -> None:
    assert cli("claim", "protect", "reports:read").exit_code == 0


def _execute(url: str, statement: str) -> None:
    database = open_database(url)
    with database.connect() as connection:
        connection.execute(text(statement))
        connection.commit()
    database.engine.dispose()


def _state(cli: Command) -> list[str]:
    words = (("user", "list"), ("role", "list"), ("claim", "list"), ("operation", "list"))
    return [cli(*line, "-o", "jsonl").stdout for line in words]


@pytest.mark.parametrize(("noun", "name"), [("role", "admin"), ("claim", "reports:read")])
def test_protection_is_shown_and_kept_in_the_history(cli: Command, noun: str, name: str) -> None:
    protected = cli(noun, "protect", name.upper(), "-o", "json")
    assert (protected.exit_code, protected.stderr) == (0, "")
    assert (protected.json["description"], protected.json["protected"]) == (name, True)
    assert cli(noun, "show", name, "-o", "json").json == protected.json
    assert cli(noun, "list", "-o", "json").json[0] == protected.json

    operation = cli("operation", "list", "--limit", "1", "-o", "json").json[0]
    assert (operation["command"], operation["counts"]) == (f"{noun} protect", {f"{noun}.update": 1})
    (change,) = cli("operation", "show", str(operation["id"]), "-o", "json").json["changes"]
    assert change["changed"] == "protected: false -> true"
    assert change["before"] | {"protected": True} == change["after"]

    again = cli(noun, "protect", name, "-o", "json")
    assert (again.exit_code, again.json) == (0, protected.json)
    unprotected = cli(noun, "unprotect", name, "-o", "json")
    assert (unprotected.exit_code, unprotected.stderr) == (0, "")
    assert unprotected.json == protected.json | {"protected": False}
    assert len(cli("operation", "list", "-o", "json").json) == 8


def test_several_are_protected_or_none(cli: Command) -> None:
    missing = cli("claim", "protect", "reports:read", "nothing")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert missing.stderr.startswith('error: no claim "nothing"\nhint: ')
    assert [claim["protected"] for claim in cli("claim", "list", "-o", "json").json] == [False] * 2

    both = cli("claim", "protect", "reports:export", "reports:read", "1", "-o", "json")
    assert [claim["id"] for claim in both.json] == [2, 1]
    assert {claim["protected"] for claim in both.json} == {True}
    assert (both.exit_code, both.stderr) == (
        0,
        'note: no active user holds the claim "reports:export" yet\n',
    )


def test_a_role_that_nobody_has_says_so(cli: Command) -> None:
    cli("user", "disable", "bruno@example.com")
    done = cli("role", "protect", "admin", "member", "--fields", "id,protected")
    assert (done.exit_code, done.stdout) == (0, "id\tprotected\n1\ttrue\n2\ttrue\n")
    assert done.stderr == 'note: no active user has the role "member" yet\n'


@pytest.mark.parametrize(
    ("noun", "verb", "what"),
    [
        ("role", "delete", "deleted"),
        ("claim", "delete", "deleted"),
        ("claim", "disable", "disabled"),
    ],
)
def test_what_is_protected_is_not_deleted_nor_disabled(
    cli: Command, noun: str, verb: str, what: str
) -> None:
    assert cli(noun, "create", "kept").exit_code == 0
    assert cli(noun, "protect", "kept").exit_code == 0
    before = _state(cli)

    done = cli(noun, verb, "KEPT")

    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr == (
        f'error: the {noun} "kept" is protected, and cannot be {what}\n'
        f'hint: take the protection away first: usermgr {noun} unprotect "kept"\n'
    )
    assert _state(cli) == before
    assert cli(noun, "update", "kept", "--name", "renamed").exit_code == 0
    assert cli(noun, "unprotect", "renamed").exit_code == 0
    assert cli(noun, verb, "renamed").exit_code == 0


@pytest.mark.parametrize("words", NOT_ADMIN, ids=" ".join)
def test_the_last_active_user_of_a_protected_role_stays(
    cli: Command, words: tuple[str, ...]
) -> None:
    _protect_admin(cli)
    create_user(cli, "Old", "old@example.com", "admin", "--inactive")
    before = _state(cli)

    done = cli(*words)

    assert (done.exit_code, done.stdout, done.stderr) == (7, "", LAST_ADMIN)
    assert _state(cli) == before
    assert cli("role", "unprotect", "admin").exit_code == 0
    assert cli(*words).exit_code == 0


@pytest.mark.parametrize("words", NOT_READER, ids=" ".join)
def test_the_last_active_holder_of_a_protected_claim_stays(
    cli: Command, words: tuple[str, ...]
) -> None:
    _protect_reading(cli)
    create_user(cli, "Old", "old@example.com", "admin", "--inactive", "--claim", "reports:read")
    before = _state(cli)

    done = cli(*words)

    assert (done.exit_code, done.stdout, done.stderr) == (7, "", LAST_READER)
    assert _state(cli) == before
    assert cli("claim", "unprotect", "reports:read").exit_code == 0
    assert cli(*words).exit_code == 0


@pytest.mark.parametrize("words", NOT_ADMIN, ids=" ".join)
def test_one_of_two_active_users_may_go(cli: Command, words: tuple[str, ...]) -> None:
    _protect_admin(cli)
    create_user(cli, "Eva", "eva@example.com", "admin")
    assert cli(*words).exit_code == 0


@pytest.mark.parametrize("words", NOT_READER, ids=" ".join)
def test_one_of_two_active_holders_may_go(cli: Command, words: tuple[str, ...]) -> None:
    _protect_reading(cli)
    assert cli("user", "grant", "bruno@example.com", "reports:read").exit_code == 0
    assert cli(*words).exit_code == 0


def test_the_last_two_do_not_go_together(cli: Command) -> None:
    _protect_admin(cli)
    create_user(cli, "Eva", "eva@example.com", "admin")
    for words in (("disable",), ("delete", "--yes")):
        done = cli("user", *words, "ana@example.com", "eva@example.com")
        assert (done.exit_code, done.stdout, done.stderr) == (7, "", LAST_ADMIN)
    assert [user["active"] for user in cli("user", "list", "-o", "json").json] == [True] * 3


def test_everything_that_would_be_lost_is_named(cli: Command) -> None:
    _protect_admin(cli)
    _protect_reading(cli)
    done = cli("user", "delete", "1", "--yes", "-o", "json")
    assert (done.exit_code, done.stdout) == (7, "")
    assert '"code": "forbidden"' in done.stderr
    assert 'the protected role \\"admin\\" and claim \\"reports:read\\"' in done.stderr
    assert (
        '"details": {"protected": [{"noun": "role", "id": 1, "description": "admin"}, '
        '{"noun": "claim", "id": 1, "description": "reports:read"}]}' in done.stderr
    )


@pytest.mark.parametrize(
    "words",
    [
        ("update", "1", "--name", "Ana S", "--email", "a@example.com"),
        ("update", "1", "--role", "admin"),
        ("grant", "1", "reports:export"),
        ("revoke", "1", "reports:export"),
        ("enable", "1"),
        ("set-password", "1"),
        ("disable", "2"),
        ("delete", "2", "--yes"),
    ],
    ids=" ".join,
)
def test_what_takes_nothing_away_goes_on(cli: Command, words: tuple[str, ...]) -> None:
    _protect_admin(cli)
    _protect_reading(cli)
    assert cli("user", *words).exit_code == 0


def test_a_grant_counts_until_it_expires(cli: Command, database_url: str) -> None:
    _protect_reading(cli)
    assert cli("user", "grant", "2", "reports:read").exit_code == 0
    expired = "UPDATE user_claims SET expires_at = '{}' WHERE user_id = 2"
    _execute(database_url, expired.format("2001-01-01 00:00:00.000000"))
    done = cli("user", "revoke", "1", "reports:read")
    assert (done.exit_code, done.stdout, done.stderr) == (7, "", LAST_READER)

    _execute(database_url, expired.format("2999-01-01 00:00:00.000000"))
    assert cli("user", "revoke", "1", "reports:read").exit_code == 0


def test_what_had_nobody_before_is_no_reason(cli: Command) -> None:
    """A claim that is disabled, or a role whose users are all inactive, loses nothing."""
    assert cli("claim", "disable", "reports:read").exit_code == 0
    assert cli("user", "disable", "1").exit_code == 0
    _protect_admin(cli)
    _protect_reading(cli)
    assert cli("user", "revoke", "1", "reports:read").exit_code == 0
    assert cli("user", "update", "1", "--role", "member").exit_code == 0


HEADER = "email,name,role,claims,active\n"


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("ana@example.com,Ana Souza,member,reports:read,true\n", LAST_ADMIN),
        ("ana@example.com,Ana Souza,admin,reports:export,true\n", LAST_READER),
        ("ana@example.com,Ana Souza,admin,,true\n", LAST_READER),
        ("ana@example.com,Ana Souza,admin,reports:read,false\nx@example.com,X,member,,\n", None),
    ],
)
def test_an_import_keeps_the_last_ones_too(
    cli: Command, rows: str, message: str | None, dry_run: tuple[str, ...]
) -> None:
    _protect_admin(cli)
    _protect_reading(cli)
    before = _state(cli)

    done = cli(*("user", "import", "-", "--on-conflict", "update", *dry_run), stdin=HEADER + rows)

    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr.startswith("error: no active user would be left with the protected ")
    assert message in (None, done.stderr)
    assert _state(cli) == before


def test_an_import_may_name_the_successor(cli: Command) -> None:
    _protect_admin(cli)
    _protect_reading(cli)
    rows = (
        "ana@example.com,Ana Souza,member,,false\n"
        "bruno@example.com,Bruno Lima,member,reports:read,true\n"
        "eva@example.com,Eva,admin,,true\n"
    )
    done = cli(
        *("user", "import", "-", "--on-conflict", "update", "-o", "json"), stdin=HEADER + rows
    )
    assert (done.exit_code, done.json["created"], done.json["updated"]) == (0, 1, 2)


@pytest.mark.parametrize("conflict", ["fail", "skip"])
def test_an_import_that_changes_nobody_is_not_guarded(cli: Command, conflict: str) -> None:
    _protect_admin(cli)
    rows = "eva@example.com,Eva,admin,,true\n"
    done = cli("user", "import", "-", "--on-conflict", conflict, stdin=HEADER + rows)
    assert done.exit_code == 0
