"""A person who asks to be forgotten is: in the row, the history and the recycle bin."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select, text

from tests.support.commands import Command
from tests.support.consistency import broken_promises
from tests.support.databases import open_database
from tests.support.people import create_company, create_user
from tests.support.tampering import tamper
from usermgr.db.engine import Database
from usermgr.db.models import (
    changes,
    metadata,
    recycled_grants,
    recycled_passwords,
    recycled_users,
    user_claims,
    users,
)
from usermgr.services.erasing import erase_user
from usermgr.urls import sqlite_path

MARKERS = ("zelda", "Quux", "$argon2id$")
PASSWORD = "correct horse battery"
LEFT = {
    "sqlite": "note: free space of the file may hold older copies until VACUUM; backups hold"
    " theirs\n",
    "postgresql": "note: dead rows hold the data until VACUUM, write-ahead log, replicas and"
    " backups as long as they are kept\n",
}


@pytest.fixture(autouse=True)
def zelda(cli: Command) -> None:
    """User 3, who had two e-mails, a claim and a password; five changes."""
    create_company(cli)
    create_user(cli, "Zelda Quux", "zelda@example.com", "member", "--claim", "reports:read")
    cli("user", "update", "3", "--email", "zelda.quux@example.com")
    cli("user", "grant", "3", "reports:export")
    cli("user", "set-password", "3", "--password-stdin", stdin=PASSWORD)
    cli("user", "update", "3", "--name", "Zelda Q. Quux")


def _everything_stored(url: str) -> str:
    """Every cell of every table."""
    database = open_database(url)
    cells = []
    with database.connect() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table)):
                cells += [str(value) for value in row]
    database.engine.dispose()
    return "\n".join(cells)


def _put_into_the_bin(url: str, operation_id: int, user_id: int, email: str) -> None:
    """What the recycle bin holds of a user."""
    database = open_database(url)
    own = {"operation_id": operation_id}
    with database.connect() as connection:
        row = {"id": user_id, "name": "Zelda Quux", "email": email, "password": "$argon2id$x"}
        when = {"created_at": text("CURRENT_TIMESTAMP"), "active": True, "version": 1}
        connection.execute(insert(recycled_users).values(**own, **row, **when, role_id=2))
        connection.execute(
            insert(recycled_grants).values(**own, user_id=user_id, claim_id=1, reason="Quux left")
        )
        connection.execute(
            insert(recycled_passwords).values(**own, user_id=user_id, password="$argon2id$y")
        )
        connection.commit()
    database.engine.dispose()


def _broken_of_users(url: str) -> dict[str, Any]:
    found = broken_promises(url)
    images = "images that are not the rows"
    found[images] = [key for key in found.pop(images, []) if key[0] == "user"]
    return {what: number for what, number in found.items() if number}


def _history(cli: Command, reference: str) -> list[tuple[str, str, str]]:
    found = cli("user", "history", reference, "-o", "json").json
    return [(change["action"], change["name"], change["changed"]) for change in found]


def test_a_present_user(cli: Command, database_url: str, backend: str) -> None:
    _put_into_the_bin(database_url, 7, 3, "zelda@example.com")
    last = cli("operation", "list", "--limit", "1", "-o", "json").json[0]["id"]

    done = cli("user", "erase", "zelda.quux@example.com", "--yes", "-o", "json")

    assert (done.exit_code, done.stderr) == (0, LEFT[backend])
    assert done.json == {
        "id": 3,
        "user": "pseudonymous",
        "changes": 5,
        "grants": 2,
        "recycled": 4,
        "operation_id": last + 1,
    }
    left = cli("user", "show", "3", "-o", "json").json
    assert {key: left[key] for key in ("name", "email", "role", "claims", "active")} == {
        "name": "erased",
        "email": "erased-3@erased.invalid",
        "role": "member",
        "claims": [],
        "active": False,
    }
    assert (left["has_password"], left["version"]) == (False, 6)
    stored = _everything_stored(database_url)
    assert [marker for marker in MARKERS if marker in stored] == []
    assert "ana@example.com" in stored
    assert _broken_of_users(database_url) == {}


def test_what_the_history_still_tells(cli: Command) -> None:
    cli("user", "erase", "3", "--yes")
    assert _history(cli, "3") == [
        *((action, "", "erased") for action in ("create", "update", "grant", "set-password")),
        ("update", "", "erased"),
        ("erase", "", ""),
    ]
    (record,) = cli("user", "history", "3", "-o", "json").json[-1:]
    assert (record["before"], record["after"]) == (None, {"erased_changes": [7, 8, 9, 10, 11]})
    for email in ("zelda@example.com", "zelda.quux@example.com"):
        gone = cli("user", "history", email)
        assert (gone.exit_code, gone.stdout) == (3, "")
    newest = cli("operation", "list", "--limit", "1", "-o", "json").json[0]
    assert (newest["command"], newest["counts"]) == ("user erase", {"user.erase": 1})


def test_a_deleted_user_by_a_former_e_mail(cli: Command, database_url: str) -> None:
    cli("user", "delete", "3", "--yes")

    done = cli("user", "erase", "zelda@example.com", "--yes", "-o", "json")

    assert (done.exit_code, done.json["user"], done.json["changes"]) == (0, "deleted", 6)
    stored = _everything_stored(database_url)
    assert [marker for marker in MARKERS if marker in stored] == []
    assert cli("user", "show", "3").exit_code == 3
    assert _history(cli, "3")[-1] == ("erase", "", "")
    assert _broken_of_users(database_url) == {}


def test_a_user_of_whom_only_the_bin_knows(cli: Command, database_url: str) -> None:
    """One that came and went in bulk."""
    _put_into_the_bin(database_url, 7, 99, "zelda.bulk@example.com")
    done = cli("user", "erase", "zelda.bulk@example.com", "--yes", "-o", "json")
    assert (done.exit_code, done.json["id"], done.json["recycled"]) == (0, 99, 3)
    assert "zelda.bulk" not in _everything_stored(database_url)


def test_a_user_who_was_created_with_many_others(cli: Command, database_url: str) -> None:
    cli("seed", "--users", "1", "-q")
    email = cli("user", "show", "4", "-o", "json").json["email"]

    done = cli("user", "erase", "4", "--yes", "-o", "json")

    assert (done.exit_code, done.json["changes"]) == (0, 0)
    assert email not in _everything_stored(database_url)
    assert [(action, name) for action, name, _ in _history(cli, "4")] == [
        ("create", ""),
        ("erase", ""),
    ]
    assert _broken_of_users(database_url) == {}


def test_seals_stay_valid(cli: Command) -> None:
    """Sealed before the erasure, and after it."""
    before = cli("audit", "seal", "-o", "json").json
    cli("user", "update", "3", "--name", "Zelda")
    cli("user", "erase", "3", "--yes")

    verified = cli("audit", "verify", "--anchor", before["digest"], "-o", "json")

    assert (verified.exit_code, verified.json["erased"], verified.json["unsealed"]) == (0, 5, 2)
    cli("audit", "seal")
    verified = cli("audit", "verify", "--anchor", before["digest"], "-o", "json")
    assert (verified.exit_code, verified.json["erased"], verified.json["unsealed"]) == (0, 6, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE changes SET digest = '00' WHERE id = 8",
        "UPDATE changes SET name = 'zelda@example.com' WHERE id = 8",
        "UPDATE changes SET salt = '00' WHERE id = 8",
        "UPDATE changes SET digest = NULL WHERE id = 8",
        "UPDATE changes SET after = '{\"erased_changes\": [7, 9, 10, 11]}' WHERE id = 12",
    ],
)
def test_an_erasure_hides_no_tampering(cli: Command, database_url: str, statement: str) -> None:
    cli("audit", "seal")
    cli("user", "erase", "3", "--yes")
    assert cli("audit", "verify").exit_code == 0
    tamper(database_url, statement)
    done = cli("audit", "verify")
    assert (done.exit_code, done.stdout) == (8, "")
    assert done.stderr.startswith("error: change 8 ")


def test_erasing_again_erases_what_came_since(cli: Command, database_url: str) -> None:
    cli("user", "erase", "3", "--yes")
    operations = cli("operation", "list").stdout

    again = cli("user", "erase", "3", "--yes", "-o", "json")

    assert (again.exit_code, again.stderr) == (0, "note: user 3 is erased already\n")
    assert again.json == {
        "id": 3,
        "user": "pseudonymous",
        "changes": 0,
        "grants": 0,
        "recycled": 0,
        "operation_id": None,
    }
    assert cli("operation", "list").stdout == operations

    cli("user", "update", "3", "--name", "Zelda Quux")
    once_more = cli("user", "erase", "3", "--yes", "-o", "json").json
    assert once_more["changes"] == 1
    assert "Quux" not in _everything_stored(database_url)
    cli("audit", "seal")
    assert cli("audit", "verify", "-o", "json").json["erased"] == 6


@pytest.mark.parametrize(
    ("reference", "status", "message"),
    [
        ("nobody@example.com", 3, 'no user "nobody@example.com"'),
        ("99", 3, 'no user "99"'),
        ("9" * 30, 3, f'no user "{"9" * 30}"'),
        (" ", 2, "the user is empty"),
    ],
)
def test_nobody(cli: Command, reference: str, status: int, message: str) -> None:
    done = cli("user", "erase", reference, "--yes")
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.startswith(f"error: {message}\nhint: ")


def test_an_e_mail_that_two_people_had(cli: Command, database_url: str) -> None:
    create_user(cli, "Another", "zelda@example.com", "member")
    before = _everything_stored(database_url)

    done = cli("user", "erase", "zelda@example.com", "--yes")

    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr == (
        'error: "zelda@example.com" was the e-mail of the users 3, 4\n'
        "hint: look at them with usermgr user history, and name one by id\n"
    )
    assert _everything_stored(database_url) == before


def test_the_pseudonym_is_taken(cli: Command, database_url: str) -> None:
    create_user(cli, "Joker", "erased-3@erased.invalid", "member")
    before = _everything_stored(database_url)
    done = cli("user", "erase", "3", "--yes")
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr.startswith('error: the e-mail "erased-3@erased.invalid" is taken, which ')
    assert _everything_stored(database_url) == before


def test_without_a_terminal_it_needs_yes(cli: Command, database_url: str) -> None:
    before = _everything_stored(database_url)
    done = cli("user", "erase", "3")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: this command would erase user 3 for good, which cannot be undone: it asks for"
        " confirmation, and there is no terminal to ask on\nhint: pass --yes to confirm\n"
    )
    assert _everything_stored(database_url) == before


def test_nobody_is_told_before_anything_is_asked(cli: Command) -> None:
    done = cli("user", "erase", "999")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith('error: no user "999"\n')


def test_others_are_left_alone(cli: Command, database_url: str) -> None:
    def others() -> list[Any]:
        database = open_database(database_url)
        with database.connect() as connection:
            rows: list[Any] = [
                connection.execute(select(users).where(users.c.id != 3).order_by(users.c.id)).all(),
                connection.execute(select(user_claims).where(user_claims.c.user_id != 3)).all(),
                connection.execute(
                    select(changes).where(changes.c.id < 7).order_by(changes.c.id)
                ).all(),
            ]
        database.engine.dispose()
        return rows

    before = others()
    cli("user", "erase", "3", "--yes")
    assert others() == before


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_sqlite_writes_over_what_was_there(database: Database, database_url: str) -> None:
    """Copies that were moved about before may stay until VACUUM; what was stored last does not."""
    file = sqlite_path(database_url)
    assert b"zelda.quux@example.com" in file.read_bytes()
    with database.operation("user erase", "tester") as op:
        # Some builds of SQLite write over what is deleted without being asked.
        op.connection.exec_driver_sql("PRAGMA secure_delete = OFF")
        erase_user(op, "3")
    left = file.read_bytes()
    assert [marker for marker in MARKERS if marker.encode() in left] == []
