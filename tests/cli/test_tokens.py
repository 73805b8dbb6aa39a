"""Tokens: shown once, kept as a digest, with an end always; every change of them in the history."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from tests.support.commands import Command
from tests.support.databases import open_database
from usermgr.db.engine import Database
from usermgr.db.models import changes, tokens
from usermgr.records import SCOPES
from usermgr.services.token_text import Presented, read_token, token_text
from usermgr.services.tokens import find_bearer, find_token, note_use, use_is_old

READ = ["users:read", "roles:read", "claims:read", "operations:read", "tokens:read"]
TEXT = re.compile(r"usermgr_1_[0-9A-Za-z]{43}[0-9A-Za-z]{6}")
SECRET = "0" * 42 + "1"


def create(cli: Command, *more: str) -> dict[str, object]:
    """Create the token ``deploy``, and return what is shown."""
    created = cli("token", "create", "--name", "deploy", *more, "-o", "json")
    assert created.exit_code == 0, created
    shown: dict[str, object] = created.json
    return shown


def bearer(database: Database, text: object, *, at: datetime | None = None) -> str | None:
    """Who bears the token, as the history would call them; None for nobody."""
    presented = read_token(str(text))
    assert presented is not None
    with database.read() as connection:
        found = find_bearer(connection, presented, at or datetime.now(UTC))
    return None if found is None else found.actor


def test_a_token_is_shown_once_and_may_only_read_by_default(
    cli: Command, database: Database
) -> None:
    shown = create(cli)

    text = str(shown.pop("token"))
    assert TEXT.fullmatch(text)
    assert shown == cli("token", "show", "deploy", "-o", "json").json
    assert [shown] == cli("token", "list", "-o", "json").json
    ends = datetime.fromisoformat(str(shown.pop("expires_at")))
    created = datetime.fromisoformat(str(shown.pop("created_at")))
    assert abs(ends - created - timedelta(days=90)) < timedelta(minutes=1)
    nothing = {"user_id": None, "last_used_at": None, "revoked_at": None}
    assert shown == {"id": 1, "name": "deploy", "scopes": READ, **nothing}
    assert bearer(database, text) == "token 1 deploy"


def test_the_secret_is_kept_as_its_digest_only(cli: Command, database: Database) -> None:
    text = str(create(cli)["token"])
    secret = text[len("usermgr_1_") : -6]

    with database.read() as connection:
        kept = connection.execute(select(tokens)).one()
        (change,) = connection.execute(select(changes)).all()
    assert kept.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert (change.entity, change.action, change.name) == ("token", "create", "deploy")
    for row in (kept, change):
        assert secret not in str(row)
    assert kept.digest not in str(change)


@pytest.mark.parametrize(
    ("given", "scopes"),
    [
        ("all", list(SCOPES)),
        ("read", READ),
        ("users:write , users:read,users:write", ["users:read", "users:write"]),
        ("roles:write,read", [*READ[:2], "roles:write", *READ[2:]]),
    ],
)
@pytest.mark.any_database
def test_scopes(cli: Command, given: str, scopes: list[str]) -> None:
    assert create(cli, "--scopes", given)["scopes"] == scopes


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--scopes", "users"), 2, 'no scope "users"'),
        (("--scopes", " ,"), 2, "no scope was named"),
        (("--expires", "never"), 2, "a token always has an end"),
        (("--expires", "2020-01-01"), 2, '"2020-01-01" is not in the future'),
        (("--for", "nobody@example.com"), 3, 'no user "nobody@example.com"'),
        (("--fields", "id"), 2, "--fields id leaves out token: the token's text would be lost"),
    ],
)
@pytest.mark.any_database
def test_a_token_that_cannot_be(
    cli: Command, words: tuple[str, ...], status: int, message: str
) -> None:
    refused = cli("token", "create", "--name", "deploy", *words)

    assert (refused.exit_code, refused.stdout) == (status, "")
    assert refused.stderr.startswith(f"error: {message}\n")
    assert cli("token", "list", "-o", "json").json == []


def test_a_name_is_free_again_when_its_token_is_revoked(cli: Command, database: Database) -> None:
    first = create(cli)["token"]

    taken = cli("token", "create", "--name", "deploy")
    assert (taken.exit_code, taken.stderr.splitlines()[0]) == (
        4,
        'error: a token "deploy" is in force already',
    )
    revoked = cli("token", "revoke", "deploy", "-o", "json").json
    assert revoked["revoked_at"] is not None
    assert cli("token", "revoke", "1", "-o", "json").json == revoked
    second = create(cli)
    number = second["id"]
    assert number != revoked["id"]
    assert cli("token", "show", "deploy", "-o", "json").json["id"] == number
    in_force = f"token {number} deploy"
    assert [bearer(database, first), bearer(database, second["token"])] == [None, in_force]


def test_rotating_ends_the_former_text(cli: Command, database: Database) -> None:
    first = create(cli, "--scopes", "users:write", "--expires", "2d")

    rotated = cli("token", "rotate", "deploy", "--expires", "30d", "-o", "json").json

    assert rotated["expires_at"] > str(first["expires_at"])
    same = {"id", "name", "scopes", "user_id", "created_at", "last_used_at", "revoked_at"}
    assert {key: rotated[key] for key in same} == {key: first[key] for key in same}
    assert bearer(database, first["token"]) is None
    assert bearer(database, rotated["token"]) == "token 1 deploy"
    cli("token", "revoke", "deploy")
    refused = cli("token", "rotate", "deploy")
    assert (refused.exit_code, refused.stderr.splitlines()[0]) == (
        4,
        'error: the token "deploy" was revoked',
    )


def test_a_token_of_a_user_works_while_that_user_is_active(
    cli: Command, database: Database
) -> None:
    cli("role", "create", "admin")
    ana = ("--name", "Ana", "--email", "ana@example.com", "--role", "admin", "--no-password")
    cli("user", "create", *ana)
    text = create(cli, "--for", "ana@example.com")["token"]

    assert bearer(database, text) == "user 1 (token 1 deploy)"
    for words, works in ((("disable",), False), (("enable",), True), (("delete", "--yes"), False)):
        assert cli("user", words[0], "1", *words[1:]).exit_code == 0
        assert (bearer(database, text) is not None) == works, words


def test_a_token_ends_at_its_end(cli: Command, database: Database) -> None:
    created = create(cli, "--expires", "1h")
    ends = datetime.fromisoformat(str(created["expires_at"]))

    assert bearer(database, created["token"], at=ends - timedelta(seconds=1)) is not None
    assert bearer(database, created["token"], at=ends) is None
    other = token_text(1, SECRET)
    assert bearer(database, other) is None
    assert bearer(database, token_text(9_999_999_999_999_999_999, SECRET)) is None


def test_use_is_kept_to_the_hour(cli: Command, database: Database) -> None:
    create(cli)
    now = datetime(2030, 1, 1, 12, 34, 56, tzinfo=UTC)
    for used in (now, now + timedelta(minutes=20), now + timedelta(minutes=50)):
        with database.write(look="") as (connection, _):
            note_use(connection, 1, used)
            token = find_token(connection, "deploy")
        told = 13 if used.hour == 13 else 12
        assert token.last_used_at == now.replace(hour=told, minute=0, second=0)
        assert not use_is_old(token, used)


def test_every_change_is_in_the_history_and_none_can_be_undone(cli: Command) -> None:
    create(cli)
    cli("token", "rotate", "deploy")
    cli("token", "revoke", "deploy")

    listed = cli("operation", "list", "-o", "json").json
    assert [(row["command"], row["counts"]) for row in listed] == [
        ("token revoke", {"token.revoke": 1}),
        ("token rotate", {"token.rotate": 1}),
        ("token create", {"token.create": 1}),
    ]
    for operation in ("1", "2", "3"):
        refused = cli("undo", operation)
        assert (refused.exit_code, refused.stderr.splitlines()[0]) == (
            2,
            f"error: operation {operation} concerns a token: that cannot be undone",
        )
    assert cli("audit", "seal").exit_code == 0
    assert cli("audit", "verify").exit_code == 0


@pytest.mark.any_database
def test_the_text_has_a_checksum(database_url: str) -> None:
    text = token_text(7, SECRET)

    assert read_token(text) == Presented(7, SECRET)
    assert read_token(text[:-7] + "2" + text[-6:]) is None
    wrong = ("", "usermgr_7_", text[1:], text + "0", text.replace("_7_", "_8_"), text.upper())
    assert [read_token(other) for other in (*wrong, text.replace("7", "७"))] == [None] * 7


def test_a_revoked_token_may_have_the_name_of_another_in_the_database(
    cli: Command, database_url: str
) -> None:
    create(cli)
    cli("token", "revoke", "deploy")
    create(cli)
    with open_database(database_url).write(look="") as (connection, now):
        connection.execute(update(tokens).values(revoked_at=now))
    assert cli("token", "show", "deploy", "-o", "json").json["id"] == 2
