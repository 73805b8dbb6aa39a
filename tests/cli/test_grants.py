"""Grants for a reason and until an end: what may be given, and that they count no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.commands import Command
from tests.support.consistency import broken_promises, stored_state
from tests.support.databases import open_database
from tests.support.people import create_company

FUTURE = "write a date such as 2027-01-31, a span such as 30d, or never"
TIME = "write a date such as 2026-01-31, an RFC 3339 time, or a span: 30m, 12h, 7d or 2w"


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    create_company(cli)


def _grant(cli: Command) -> dict[str, Any]:
    """Bruno's grant of the first claim, as the history has it."""
    image = cli("user", "history", "2", "-o", "json").json[-1]["after"]
    (grant,) = image["grants"]
    found: dict[str, Any] = grant
    return found


def _expire(url: str, user: int = 2) -> None:
    database = open_database(url)
    with database.connect() as connection:
        past = "UPDATE user_claims SET expires_at = '2001-01-01 00:00:00.000000' WHERE user_id = "
        connection.execute(text(f"{past}{user}"))
        connection.commit()
    database.engine.dispose()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2999-01-31", "2999-01-31T00:00:00.000000Z"),
        ("2999-01-31T12:00:00+03:00", "2999-01-31T09:00:00.000000Z"),
        ("2999-01-31T12:00:00Z", "2999-01-31T12:00:00.000000Z"),
        (" 2999-01-31 12:00 ", "2999-01-31T12:00:00.000000Z"),
        ("never", None),
        ("NEVER", None),
    ],
)
def test_times_that_are_given(cli: Command, given: str, kept: str | None) -> None:
    done = cli("user", "grant", "2", "1", "--expires", given, "--reason", " for the  audit ")
    assert (done.exit_code, done.stderr) == (0, "")
    assert (_grant(cli)["expires_at"], _grant(cli)["reason"]) == (kept, "for the  audit")


@pytest.mark.parametrize(
    ("span", "seconds"), [("5m", 300), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)]
)
def test_spans_are_counted_from_now_on(cli: Command, span: str, seconds: int) -> None:
    earliest = datetime.now(UTC) + timedelta(seconds=seconds)
    assert cli("user", "grant", "2", "1", "--expires", span).exit_code == 0
    end = datetime.fromisoformat(_grant(cli)["expires_at"])
    assert earliest <= end <= datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--expires", "2001-01-31"), f'"2001-01-31" is not in the future\nhint: {FUTURE}'),
        (("--expires", "0d"), f'"0d" is not in the future\nhint: {FUTURE}'),
        (("--expires", "tomorrow"), f'"tomorrow" is not a time\nhint: {TIME}'),
        (("--expires", ""), f'"" is not a time\nhint: {TIME}'),
        (("--expires", "2999-02-31"), f'"2999-02-31" is not a time\nhint: {TIME}'),
        (("--reason", " "), "the reason is empty"),
        (("--reason", "two\nlines"), "the reason "),
    ],
)
@pytest.mark.parametrize("whom", [("2", "1"), ("1", "--where-role", "member")])
def test_what_is_refused(
    cli: Command, database_url: str, whom: tuple[str, ...], words: tuple[str, str], message: str
) -> None:
    before = stored_state(database_url)
    done = cli("user", "grant", *whom, *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert stored_state(database_url) == before


@pytest.mark.parametrize("whom", [("2", "1"), ("1", "--where-role", "member")])
def test_what_is_not_given_stays_and_a_run_out_grant_is_a_new_one(
    cli: Command, database_url: str, whom: tuple[str, ...]
) -> None:
    def grant(*more: str) -> tuple[Any, Any, int]:
        assert cli("user", "grant", *whom, *more).exit_code == 0
        version = cli("user", "show", "2", "-o", "json").json["version"]
        return _grant(cli)["reason"], _grant(cli)["expires_at"], version

    end = "2999-01-31T00:00:00.000000Z"
    assert grant("--reason", "a", "--expires", "2999-01-31") == ("a", end, 2)
    assert grant() == ("a", end, 2)
    assert grant("--reason", "b") == ("b", end, 3)
    assert grant("--expires", "2999-01-31") == ("b", end, 3)
    assert grant("--expires", "never") == ("b", None, 4)
    _expire(database_url)
    assert grant() == (None, None, 5)


def test_the_end_of_what_is_granted_again_is_told(cli: Command) -> None:
    cli("user", "grant", "2", "1", "--expires", "2999-01-31")
    again = cli("user", "grant", "2", "1")
    assert again.stderr == (
        "note: the user holds reports:read until 2999-01-31T00:00:00.000000Z;"
        " to take the end away: --expires never\n"
    )
    assert cli("user", "grant", "2", "1", "--expires", "never").stderr == ""


def test_an_end_that_has_come_counts_nowhere(cli: Command, database_url: str) -> None:
    cli("user", "grant", "2", "1", "2", "--expires", "9d")
    assert cli("user", "list", "--claim", "1", "-o", "json").json[1]["id"] == 2
    _expire(database_url)

    assert cli("user", "show", "2", "-o", "json").json["claims"] == []
    assert cli("user", "list", "-o", "json").json[1]["claims"] == []
    for claims in (("--claim", "1"), ("--claim", "1", "--claim", "2")):
        assert 2 not in [user["id"] for user in cli("user", "list", *claims, "-o", "json").json]
    for more in (("csv",), ("jsonl",), ("csv", "--role", "member"), ("csv", "--safe")):
        exported = cli("user", "export", "-", "--format", *more).stdout
        (line,) = (line for line in exported.splitlines() if "bruno" in line)
        assert "reports" not in line
    assert [claim["users"] for claim in cli("claim", "list", "-o", "json").json] == [1, 0]
    selected = cli("user", "disable", "--where-claim", "1", "--dry-run", "-o", "json")
    assert selected.json["matched"] == 1
    cli("claim", "protect", "1")
    assert cli("user", "revoke", "1", "1").exit_code == 7
    assert cli("user", "erase", "1", "--yes").exit_code == 7


def test_the_sweep_removes_them_and_nothing_else(cli: Command, database_url: str) -> None:
    cli("user", "grant", "2", "1", "2", "--expires", "9d")
    _expire(database_url)
    cli("user", "grant", "2", "2", "--expires", "9d")
    before = stored_state(database_url)

    tried = cli("claim", "sweep", "--dry-run", "-o", "json")
    assert tried.json == {"users": 1, "grants": 1, "dry_run": True, "operation_id": None}
    assert stored_state(database_url) == before
    swept = cli("claim", "sweep", "-o", "json")

    newest = cli("operation", "list", "--limit", "1", "-o", "json").json[0]
    assert swept.json == tried.json | {"dry_run": False, "operation_id": newest["id"]}
    assert newest["counts"] == {"user.sweep": 1, "grant.delete": 1}
    left = [(row[0], row[1]) for row in stored_state(database_url)["user_claims"]]
    assert left == [(1, 1), (2, 2)]
    told = cli("user", "history", "2", "-o", "json").json[-1]
    assert (told["action"], told["changed"]) == ("sweep", "-reports:read")
    assert broken_promises(database_url).keys() <= {"histories with a gap"}

    again = cli("claim", "sweep", "-o", "json").json
    assert again == {"users": 0, "grants": 0, "dry_run": False, "operation_id": None}


def test_a_claim_whose_grants_have_run_out_is_not_deleted_before_the_sweep(
    cli: Command, database_url: str
) -> None:
    cli("user", "grant", "2", "2", "--expires", "9d")
    _expire(database_url)
    refused = cli("claim", "delete", "2")
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert refused.stderr == (
        'error: the claim "reports:export" is in grants whose time has run out\n'
        "hint: remove them with: usermgr claim sweep\n"
    )
    cli("claim", "sweep")
    assert cli("claim", "delete", "2").exit_code == 0
