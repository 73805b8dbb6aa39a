"""Why a user holds a claim or does not, and users as of a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.commands import Command
from tests.support.databases import open_database
from tests.support.people import create_company, create_user


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    create_company(cli)


def _why(cli: Command, user: str, claim: str = "reports:read") -> dict[str, Any]:
    done = cli("why", user, claim, "-o", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    told: dict[str, Any] = done.json
    return told


def _newest(cli: Command) -> dict[str, Any]:
    found: dict[str, Any] = cli("operation", "list", "--limit", "1", "-o", "json").json[0]
    return found


def _expire(url: str) -> None:
    database = open_database(url)
    with database.connect() as connection:
        past = "UPDATE user_claims SET expires_at = '2001-01-01 00:00:00.000000'"
        connection.execute(text(past))
        connection.commit()
    database.engine.dispose()


def test_a_grant_with_its_reason_and_end(cli: Command) -> None:
    grant = ("grant", "2", "1", "--reason", "audit of 2026", "--expires", "2999-01-31")
    assert cli("user", *grant, env={"USERMGR_ACTOR": "ci"}).exit_code == 0
    operation = _newest(cli)
    cli("user", "update", "2", "--name", "B")
    cli("user", "grant", "2", "2")
    assert _why(cli, "BRUNO@example.com", "REPORTS:read") == {
        "user": "bruno@example.com",
        "claim": "reports:read",
        "granted": True,
        "counts": True,
        "because": "it is granted",
        "at": operation["started_at"],
        "actor": "ci",
        "command": "user grant",
        "operation_id": operation["id"],
        "reason": "audit of 2026",
        "expires_at": "2999-01-31T00:00:00.000000Z",
        "user_active": True,
        "claim_active": True,
    }


def test_never_granted(cli: Command) -> None:
    told = _why(cli, "2")
    assert (told["granted"], told["counts"]) == (False, False)
    assert told["because"] == "it is not granted"
    assert [told[key] for key in ("at", "actor", "command", "operation_id", "reason")] == [None] * 5


def test_taken_away(cli: Command) -> None:
    cli("user", "revoke", "1", "1")
    operation = _newest(cli)
    cli("user", "disable", "1")
    told = _why(cli, "1")
    assert (told["granted"], told["counts"], told["reason"]) == (False, False, None)
    assert told["because"] == "it is not granted, but was once; the user is inactive"
    assert (told["command"], told["operation_id"]) == ("user revoke", operation["id"])


def test_granted_again(cli: Command) -> None:
    cli("user", "revoke", "1", "1")
    cli("user", "grant", "1", "1", "--reason", "again")
    told = _why(cli, "1")
    assert (told["because"], told["reason"]) == ("it is granted", "again")
    assert told["operation_id"] == _newest(cli)["id"]


def test_another_reason_or_end_is_another_grant(cli: Command, database_url: str) -> None:
    """Who, when and in which operation belong to the reason and the end that are told."""
    cli("user", "grant", "1", "1", "--reason", "first", "--expires", "9d")
    cli("user", "grant", "1", "1", "--reason", "second")
    told = _why(cli, "1")
    assert (told["reason"], told["operation_id"]) == ("second", _newest(cli)["id"])
    _expire(database_url)
    cli("user", "grant", "1", "1", "--reason", "third")
    operation = _newest(cli)
    cli("user", "update", "1", "--name", "A")
    told = _why(cli, "1")
    assert (told["reason"], told["operation_id"]) == ("third", operation["id"])


def test_expired_and_swept(cli: Command, database_url: str) -> None:
    cli("user", "grant", "1", "1", "--expires", "9d")
    _expire(database_url)
    told = _why(cli, "1")
    assert (told["granted"], told["counts"]) == (True, False)
    assert told["because"] == "the grant has expired"
    assert told["expires_at"] == "2001-01-01T00:00:00.000000Z"
    cli("claim", "sweep")
    told = _why(cli, "1")
    assert (told["granted"], told["command"]) == (False, "claim sweep")
    assert told["because"] == "it is not granted, but was once"


def test_the_user_and_the_claim_are_inactive(cli: Command) -> None:
    cli("user", "disable", "1")
    cli("claim", "disable", "1")
    told = _why(cli, "1")
    assert (told["granted"], told["counts"]) == (True, False)
    assert (told["user_active"], told["claim_active"]) == (False, False)
    assert told["because"] == "the user is inactive; the claim is inactive"
    assert told["command"] == "user create"


def test_a_grant_from_the_beginning_with_many_others(cli: Command) -> None:
    Path("x.csv").write_text("name,email,role,claims\nX,x@example.com,member,reports:read\n")
    assert cli("user", "import", "x.csv").exit_code == 0
    operation = _newest(cli)
    cli("user", "grant", "x@example.com", "2")
    told = _why(cli, "x@example.com")
    assert (told["command"], told["operation_id"]) == ("user import", operation["id"])
    other = _why(cli, "x@example.com", "2")
    assert (other["command"], other["granted"]) == ("user grant", True)


def test_a_grant_that_came_back(cli: Command) -> None:
    cli("user", "delete", "1", "--yes")
    cli("user", "restore", "1")
    assert _why(cli, "1")["command"] == "user restore"


def test_a_grant_that_no_history_tells_of(cli: Command, database_url: str) -> None:
    database = open_database(database_url)
    with database.connect() as connection:
        grant = "INSERT INTO user_claims (user_id, claim_id) VALUES (2, 1)"
        connection.execute(text(grant))
        connection.commit()
    database.engine.dispose()
    told = _why(cli, "2")
    assert (told["granted"], told["counts"], told["at"]) == (True, True, None)


@pytest.mark.parametrize(
    ("user", "claim", "message"),
    [
        ("99", "1", 'no user "99"'),
        ("nobody@example.com", "1", 'no user "nobody@example.com"'),
        ("1", "99", 'no claim "99"'),
        ("1", "nothing", 'no claim "nothing"'),
    ],
)
def test_nobody_and_nothing(cli: Command, user: str, claim: str, message: str) -> None:
    done = cli("why", user, claim)
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith(f"error: {message}\nhint: ")


def _show(cli: Command, user: str, at: str) -> dict[str, Any] | None:
    """The user as of then; None for nobody."""
    shown = cli("user", "show", user, "--at", at, "-o", "json")
    if shown.exit_code == 0:
        found: dict[str, Any] = shown.json
        return found
    assert (shown.exit_code, shown.stdout) == (3, "")
    assert f'there was no user \\"{user}\\" at ' in shown.stderr
    return None


def test_a_user_at_every_time(cli: Command) -> None:
    before = _newest(cli)["started_at"]
    create_user(cli, "Caio", "caio@example.com", "member", "--claim", "reports:read")
    states = [cli("user", "show", "3", "-o", "json").json]
    for words in (
        ("update", "3", "--name", "Caio N.", "--email", "c@example.com", "--role", "admin"),
        ("grant", "3", "2"),
        ("disable", "3"),
    ):
        assert cli("user", *words).exit_code == 0
        states.append(cli("user", "show", "3", "-o", "json").json)
    cli("user", "delete", "3", "--yes")
    cli("user", "restore", "3")
    times = [change["at"] for change in cli("user", "history", "3", "-o", "json").json]

    assert [_show(cli, "3", time) for time in times[:4]] == states
    assert [_show(cli, "caio@example.com", time) for time in times[:4]] == states
    assert _show(cli, "3", before) is None
    assert _show(cli, "3", times[4]) is None
    assert _show(cli, "3", times[5]) == states[3]
    assert _show(cli, "3", "2001-01-01") is None
    assert _show(cli, "3", "0m") == states[3]
    assert _show(cli, "3", "7d") is None


def test_one_e_mail_means_who_had_it_then(cli: Command) -> None:
    cli("user", "update", "2", "--email", "b@example.com")
    create_user(cli, "Another", "bruno@example.com", "member")
    first = cli("user", "history", "2", "-o", "json").json[0]["at"]
    now = _newest(cli)["started_at"]
    for time, user in ((first, 2), (now, 3)):
        shown = _show(cli, "bruno@example.com", time)
        assert shown is not None
        assert shown["id"] == user


def test_users_who_came_and_went_together(cli: Command) -> None:
    Path("x.csv").write_text("name,email,role,claims\nX,x@example.com,member,reports:read\n")
    cli("user", "import", "x.csv")
    created = _newest(cli)
    shown = cli("user", "show", "x@example.com", "-o", "json").json
    cli("undo", str(created["id"]))
    deleted = _newest(cli)
    cli("undo", str(deleted["id"]))
    restored = _newest(cli)["started_at"]

    assert _show(cli, "x@example.com", created["started_at"]) == shown
    assert _show(cli, "x@example.com", deleted["started_at"]) is None
    assert _show(cli, str(shown["id"]), restored) == shown


def test_a_claim_counts_until_its_end(cli: Command) -> None:
    cli("user", "grant", "2", "1", "--expires", "2999-01-31")
    held = [_show(cli, "2", at) for at in ("2999-01-30T23:59:59Z", "2999-01-31T00:00:00Z")]
    assert [user["claims"] for user in held if user] == [["reports:read"], []]


@pytest.mark.parametrize("time", ["yesterday", "", "2026-13-01", "7", "7x", "-1d"])
def test_what_is_no_time(cli: Command, time: str) -> None:
    done = cli("user", "show", "1", f"--at={time}")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        f'error: "{time}" is not a time\nhint: write a date such as 2026-01-31, an RFC 3339 time,'
        " or a span: 30m, 12h, 7d or 2w\n"
    )
    nobody = cli("user", "show", "99", "--at", "1d")
    assert (nobody.exit_code, nobody.stdout) == (3, "")
