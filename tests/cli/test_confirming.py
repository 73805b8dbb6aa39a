"""What would change many users asks first, with their number; else it needs --yes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Command
from tests.support.consistency import broken_promises
from tests.support.people import create_company

HINT = "pass --yes to confirm; USERMGR_CONFIRM_ABOVE says how many need it"
MEMBERS = 5


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    """Ana, an admin, and five members who were created together."""
    create_company(cli)
    rows = "".join(f"m{n}@example.com,M {n},member\n" for n in range(1, MEMBERS))
    done = cli("user", "import", "-", stdin=f"email,name,role\n{rows}")
    assert done.exit_code == 0


def _state(cli: Command) -> list[str]:
    return [cli(*line, "-o", "jsonl").stdout for line in (("user", "list"), ("operation", "list"))]


def _above(number: int) -> dict[str, str]:
    return {"USERMGR_CONFIRM_ABOVE": str(number)}


VERBS = {
    "disable": ("disable", "--where-role", "member"),
    "grant claims to": ("grant", "reports:read", "--where-role", "member"),
    "give another role to": ("set-role", "admin", "--where-role", "member"),
}


@pytest.mark.parametrize("what", VERBS)
def test_more_than_the_setting_allows_need_yes(cli: Command, database_url: str, what: str) -> None:
    words = ("user", *VERBS[what])
    before = _state(cli)

    refused = cli(*words, env=_above(MEMBERS - 1))

    assert (refused.exit_code, refused.stdout, _state(cli)) == (2, "", before)
    assert refused.stderr == (
        f"error: this command would {what} 5 users: it asks for confirmation, and there is no "
        f"terminal to ask on\nhint: {HINT}\n"
    )
    as_json = cli(*words, "-o", "json", env=_above(0)).stderr
    assert '"details": {"users": 5}' in as_json
    assert cli(*words, "--dry-run", env=_above(0)).exit_code == 0
    assert _state(cli) == before
    assert cli(*words, "--yes", env=_above(0)).exit_code == 0
    assert broken_promises(database_url) == {}


@pytest.mark.parametrize("what", VERBS)
def test_as_many_as_the_setting_allows_need_nothing(cli: Command, what: str) -> None:
    done = cli("user", *VERBS[what], env=_above(MEMBERS))
    assert (done.exit_code, done.stderr) == (0, "")


def test_only_what_would_change_counts(cli: Command) -> None:
    assert cli("user", "disable", "3", "4", "5").exit_code == 0
    done = cli("user", "disable", "--where-role", "member", "-o", "json", env=_above(2))
    assert (done.exit_code, done.json["changed"], done.json["unchanged"]) == (0, 2, 3)
    again = cli("user", "disable", "--where-role", "member", env=_above(0))
    assert again.exit_code == 0


def test_a_selection_is_never_deleted_without_a_question(cli: Command) -> None:
    before = _state(cli)
    done = cli("user", "delete", "--search", "m1@")
    assert (done.exit_code, done.stdout, _state(cli)) == (2, "", before)
    assert done.stderr.startswith("error: this command would delete 1 user: it asks")
    assert cli("user", "delete", "--search", "nobody@").exit_code == 0


def test_users_that_are_named_count_as_well(cli: Command) -> None:
    before = _state(cli)
    done = cli("user", "disable", "1", "2", "3", env=_above(2))
    assert (done.exit_code, done.stdout, _state(cli)) == (2, "", before)
    assert done.stderr.startswith("error: this command would disable 3 users: it asks")
    assert cli("user", "disable", "1", "2", "3", "--yes", env=_above(2)).exit_code == 0
    assert cli("user", "disable", "1", "2", "3", env=_above(0)).exit_code == 0
    for words in (("enable", "1"), ("grant", "1", "reports:export"), ("set-role", "member", "1")):
        assert cli("user", *words, env=_above(0)).exit_code == 2


def _people(numbers: range, name: str) -> str:
    rows = "".join(f"m{n}@example.com,{name} {n},member\n" for n in numbers)
    return f"email,name,role\n{rows}"


UPDATE = ("user", "import", "x.csv", "--on-conflict", "update")


def test_an_import_counts_the_users_that_it_changes(cli: Command, database_url: str) -> None:
    Path("x.csv").write_text(_people(range(1, 5), "New") + "x@example.com,X,member\n")
    Path("results.csv").write_text("of the last time")
    before = _state(cli)
    more = ("--results", "results.csv", "--rejects", "rejects.csv")

    refused = cli(*UPDATE, *more, env=_above(3))

    assert (refused.exit_code, refused.stdout, _state(cli)) == (2, "", before)
    assert refused.stderr == (
        "error: this command would change 4 users: it asks for confirmation, and there is no "
        f"terminal to ask on\nhint: {HINT}\n"
    )
    assert Path("results.csv").read_text() == "of the last time"
    assert cli(*UPDATE, "--dry-run", "-o", "json", env=_above(0)).json["updated"] == 4
    assert _state(cli) == before
    done = cli(*UPDATE, *more, "--yes", "-o", "json", env=_above(0))
    assert (done.exit_code, done.json["updated"], done.json["created"]) == (0, 4, 1)
    assert len(Path("results.csv").read_text().splitlines()) == 6
    again = cli(*UPDATE, env=_above(0))
    assert again.exit_code == 0
    assert broken_promises(database_url) == {}


@pytest.mark.parametrize("conflict", ["fail", "skip", "update"])
def test_an_import_that_only_creates_never_asks(cli: Command, conflict: str) -> None:
    Path("x.csv").write_text(_people(range(100, 300), "New"))
    done = cli("user", "import", "x.csv", "--on-conflict", conflict, env=_above(0))
    assert (done.exit_code, done.stderr) == (0, "")
    assert cli("seed", "--users", "200", "-q", env=_above(0)).exit_code == 0


def test_bad_rows_are_told_before_anybody_is_asked(cli: Command) -> None:
    Path("x.csv").write_text(_people(range(1, 5), "New") + "not an address,X,member\n")
    done = cli(*UPDATE, env=_above(0))
    assert (done.exit_code, done.stderr.splitlines()[0]) == (
        *(2, "error: 1 of 5 rows are bad: nothing was stored"),
    )
    rest = cli(*UPDATE, "--on-error", "skip", env=_above(0))
    assert rest.stderr.startswith("error: this command would change 4 users: it asks")


@pytest.mark.any_database
@pytest.mark.parametrize("value", ["-1", "1.5", "many", "1" * 10])
def test_the_setting_is_a_whole_number(cli: Command, value: str) -> None:
    done = cli("user", "list", env={"USERMGR_CONFIRM_ABOVE": value})
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        f'error: "{value}" (environment USERMGR_CONFIRM_ABOVE) is not a number of users\n'
        "hint: write a whole number from 0 to 999999999\n"
    )
