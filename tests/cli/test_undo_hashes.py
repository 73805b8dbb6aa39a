"""Undo beside hashes that were replaced by stronger ones of the same password."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.commands import Command
from tests.support.consistency import stored_state
from tests.support.people import create_company
from tests.support.published_hashes import PUBLISHED
from usermgr.db.engine import Database
from usermgr.hash_limits import DEFAULT_COSTS
from usermgr.records import UserChanges
from usermgr.services.password_verification import find_stored, replace_hash
from usermgr.services.users import update_user

WEAK = "{SSHA}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3"
SECRET = "secret"
NEW = "correct horse battery"
VERIFY = ("user", "verify-password", "1", "--password-stdin")
SET = ("user", "set-password", "1", "--password-stdin")
STRENGTHEN = ("password", "strengthen", "--yes", "-q")


@pytest.fixture(autouse=True)
def ana(cli: Command, database: Database) -> None:
    """Ana's hash is weak, and was so from the beginning."""
    create_company(cli)
    with database.connect() as connection:
        update = text("UPDATE users SET password = :weak, version = 1 WHERE id = 1")
        connection.execute(update, {"weak": WEAK})
        connection.commit()


def _hash(database: Database, user: int = 1) -> str:
    with database.connect() as connection:
        found = text("SELECT password FROM users WHERE id = :user")
        return str(connection.execute(found, {"user": user}).scalar_one())


def _newest(cli: Command) -> str:
    return str(cli("operation", "list", "--limit", "1", "-o", "json").json[0]["id"])


def _done(cli: Command, *words: str, stdin: str = "") -> str:
    """Run it, and return the id of its operation."""
    done = cli(*words, stdin=stdin)
    assert done.exit_code == 0, done
    return _newest(cli)


def _rehash(cli: Command) -> str:
    return _done(cli, *VERIFY, stdin=SECRET)


def _strengthen(cli: Command) -> str:
    return _done(cli, *STRENGTHEN)


BETTER = pytest.mark.parametrize("better", [_rehash, _strengthen], ids=["rehash", "strengthen"])


@BETTER
def test_a_better_hash_is_not_taken_back(
    cli: Command, database_url: str, better: Callable[[Command], str]
) -> None:
    operation = better(cli)
    before = stored_state(database_url)
    for more in ((), ("--dry-run",), ("--strict",)):
        done = cli("undo", operation, "--yes", *more)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr == (
            f"error: operation {operation} replaced hashes of passwords by stronger ones:"
            " that cannot be undone\n"
            "hint: only a new password takes it back: usermgr user set-password USER\n"
        )
    assert stored_state(database_url) == before


def test_of_an_operation_with_other_changes_too_these_users_are_left(
    cli: Command, database: Database
) -> None:
    """Ana was renamed as well; Bruno was only renamed."""
    with database.operation("test", "tester") as op:
        for user in ("1", "2"):
            update_user(op, user, UserChanges(name="Renamed"))
        stored = find_stored(op.connection, "1")
        assert stored is not None
        assert replace_hash(op, stored, "$argon2id$new", "rehash", DEFAULT_COSTS)

    undone = cli("undo", _newest(cli), "--fields", "users_changed,left")

    assert (undone.exit_code, undone.rows[1]) == (6, ["1", "1"])
    told = 'user 1 "ana@example.com": only a new password takes its new hash back'
    assert told in undone.stderr
    names = [user["name"] for user in cli("user", "list", "-o", "json").json]
    assert names == ["Renamed", "Bruno Lima"]
    assert _hash(database) == "$argon2id$new"


@BETTER
def test_what_was_done_before_can_be_undone(
    cli: Command, database: Database, better: Callable[[Command], str]
) -> None:
    operation = _done(cli, "user", "update", "1", "--name", "Ana")
    better(cli)
    strong = _hash(database)

    assert cli("undo", operation).exit_code == 0

    assert cli("user", "show", "1", "-o", "json").json["name"] == "Ana Souza"
    assert _hash(database) == strong != WEAK


@BETTER
def test_the_password_of_before_comes_back(
    cli: Command, database: Database, better: Callable[[Command], str]
) -> None:
    first = _hash(database)
    changed = _done(cli, *SET, stdin=NEW)
    with database.connect() as connection:
        connection.execute(text(f"UPDATE users SET password = '{WEAK}' WHERE id = 1"))
        connection.execute(text("UPDATE recycled_passwords SET password = 'before'"))
        connection.commit()
    better(cli)
    strong = _hash(database)

    undo = _done(cli, "undo", changed)
    assert _hash(database) == "before"
    assert _done(cli, "undo", undo)
    assert _hash(database) == strong != first


@BETTER
def test_a_new_password_that_was_undone_is_no_change_since(
    cli: Command, database: Database, better: Callable[[Command], str]
) -> None:
    renamed = _done(cli, "user", "update", "1", "--name", "Ana")
    changed = _done(cli, *SET, stdin=NEW)
    assert cli("undo", renamed).exit_code == 6
    _done(cli, "undo", changed)
    better(cli)
    strong = _hash(database)

    assert cli("undo", renamed).exit_code == 0

    assert _hash(database) == strong != WEAK
    assert cli(*VERIFY, stdin=SECRET).exit_code == 0


def test_the_bin_keeps_the_better_hash_of_that_user_and_password_only(
    cli: Command, database: Database
) -> None:
    undo = _done(cli, "undo", _done(cli, *SET, stdin=NEW))
    with database.connect() as connection:
        others = "INSERT INTO recycled_passwords (operation_id, user_id, password) VALUES "
        connection.execute(text(f"{others} (1, 2, '{WEAK}'), (1, 1, '!')"))
        connection.commit()
    _rehash(cli)
    with database.connect() as connection:
        rows = text("SELECT operation_id, user_id, password FROM recycled_passwords")
        kept = {(row[0], row[1]): row[2] for row in connection.execute(rows)}
    assert kept[int(undo) - 1, 1] == _hash(database)
    assert kept[int(undo), 1] != _hash(database)
    assert (kept[1, 2], kept[1, 1]) == (WEAK, "!")


def test_users_who_were_imported_together(cli: Command, database_url: str) -> None:
    """One of them has a change of his own since, which was undone."""
    weak, phpass = PUBLISHED["ldap"][0][1], PUBLISHED["phpass"][0][1]
    rows = f"X,x@example.com,member,{weak}\nY,y@example.com,member,{phpass}\n"
    Path("two.csv").write_text(f"name,email,role,password_hash\n{rows}")
    before = stored_state(database_url)["users"]
    imported = _done(cli, "user", "import", "two.csv")
    _strengthen(cli)
    _done(cli, "undo", _done(cli, "user", "update", "x@example.com", "--name", "Xenia"))

    assert cli("undo", imported).exit_code == 0

    assert [row[0] for row in stored_state(database_url)["users"]] == [row[0] for row in before]


@BETTER
def test_times_between_can_be_shown(cli: Command, better: Callable[[Command], str]) -> None:
    _done(cli, "user", "update", "1", "--name", "Ana")
    better(cli)
    history = cli("user", "history", "1", "-o", "json").json
    assert history[-1]["before"] == {"format": "salted-sha1", "parameters": "none"}
    shown = cli("user", "show", "1", "--at", history[-1]["at"], "-o", "json")
    assert (shown.exit_code, shown.json["name"]) == (0, "Ana")
    told = cli("why", "1", "reports:read", "-o", "json").json
    assert (told["because"], told["command"]) == ("it is granted", "user create")
