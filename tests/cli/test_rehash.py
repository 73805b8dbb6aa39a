"""A right password whose hash is weak gets a better hash, and the history says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.commands import Command, Result
from tests.support.consistency import broken_promises
from tests.support.databases import CollectStatements, open_database
from tests.support.derivations import note_derivations
from tests.support.people import create_company
from tests.support.published_hashes import PUBLISHED
from usermgr.db.engine import Database
from usermgr.errors import Mismatch, NotFound, UserMgrError
from usermgr.hash_limits import DEFAULT_COSTS
from usermgr.passwords import hash_password, wrap_hash
from usermgr.services.password_verification import StoredPassword, find_stored, replace_hash, verify
from usermgr.services.users import set_password

SSHA = "{SSHA}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3"
VERIFY = ("user", "verify-password", "ana@example.com", "--password-stdin")
CURRENT = "m=19456,t=2,p=1"
VERIFIED = Result(0, "id\temail\tverified\n1\tana@example.com\ttrue\n", "")


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    create_company(cli)
    assert cli("user", "set-password", "1").exit_code == 0


@pytest.fixture
def stored_hash(database_url: str) -> Iterator[Any]:
    """``stored_hash()`` reads Ana's hash, ``stored_hash("...")`` stores one behind our back."""
    database = open_database(database_url)

    def access(new: str | None = None) -> str:
        with database.connect() as connection:
            if new is not None:
                update = text("UPDATE users SET password = :new WHERE id = 1")
                connection.execute(update, {"new": new})
                connection.commit()
            query = text("SELECT password FROM users WHERE id = 1")
            return str(connection.execute(query).scalar_one())

    yield access
    database.engine.dispose()


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("ldap", "format: salted-sha1 -> argon2id, parameters: none -> " + CURRENT),
        ("bcrypt", "format: bcrypt -> argon2id, parameters: c=4 -> " + CURRENT),
        ("django-pbkdf2", "format: pbkdf2-sha256 -> argon2id, parameters: i=390000 -> " + CURRENT),
        ("keycloak", "format: pbkdf2-sha256 -> argon2id, parameters: i=27500 -> " + CURRENT),
        ("wrapped", "format: argon2id(salted-sha1) -> argon2id"),
    ],
)
def test_a_weak_hash_is_replaced_and_the_history_says_so(
    cli: Command, database_url: str, stored_hash: Any, form: str, told: str
) -> None:
    password, old = PUBLISHED[form][0]
    assert isinstance(password, str)
    stored_hash(old)
    before = cli("user", "show", "1", "-o", "json").stdout

    assert cli(*VERIFY, stdin=password) == VERIFIED

    new = stored_hash()
    assert new.startswith(f"$argon2id$v=19${CURRENT}$")
    assert cli("user", "show", "1", "-o", "json").stdout == before
    change = cli("user", "history", "1", "-o", "json").json[-1]
    assert (change["action"], change["command"]) == ("rehash", "user verify-password")
    assert (change["actor"], change["changed"]) == ("tester", told)
    assert set(change["before"]) == set(change["after"]) == {"format", "parameters"}
    shown = cli("operation", "show", str(change["operation_id"]), "-o", "json")
    assert shown.json["counts"] == {"user.rehash": 1}
    for secret in (old, new, new.rpartition("$")[2], password):
        assert secret not in shown.stdout
    assert broken_promises(database_url) == {}

    # Now it is as it should be, and is left alone.
    assert cli(*VERIFY, stdin=password) == VERIFIED
    assert stored_hash() == new
    assert cli(*VERIFY, stdin=f"{password}?").exit_code == 8
    assert stored_hash() == new


@pytest.mark.parametrize(
    ("memory", "passes", "replaced"),
    [
        (19456, 2, False),
        (65536, 3, False),
        (65536, 1, False),
        (19456, 3, False),
        (47104, 1, False),
        (12288, 5, True),
        (19456, 1, True),
    ],
)
def test_less_memory_or_less_work_is_weak(
    cli: Command, stored_hash: Any, memory: int, passes: int, replaced: bool
) -> None:
    costs = type(DEFAULT_COSTS)(memory, passes, 1)
    old = stored_hash(hash_password("correct horse battery", costs))
    assert cli(*VERIFY, stdin="correct horse battery") == VERIFIED
    assert (stored_hash() != old) == replaced


def test_stronger_parameters_reach_everybody_who_logs_in(cli: Command, stored_hash: Any) -> None:
    stored_hash(hash_password("correct horse battery"))
    env = {"USERMGR_ARGON2_PASSES": "3"}
    assert cli(*VERIFY, stdin="correct horse battery", env=env) == VERIFIED
    assert stored_hash().startswith("$argon2id$v=19$m=19456,t=3,p=1$")


def test_a_wrong_password_replaces_nothing(cli: Command, stored_hash: Any) -> None:
    stored_hash(SSHA)
    operations = cli("operation", "list").stdout
    assert cli(*VERIFY, stdin="secrets").exit_code == 8
    assert stored_hash() == SSHA
    assert cli("operation", "list").stdout == operations


def test_a_hash_that_is_current_needs_no_right_to_write(
    cli: Command, database: Database, statements: CollectStatements, stored_hash: Any
) -> None:
    stored_hash(hash_password("correct horse battery"))
    with statements(database) as sent, database.read() as connection:
        stored = find_stored(connection, "1")
    verified, weak = verify(stored, "1", "correct horse battery", DEFAULT_COSTS)
    assert (verified.verified, weak) == (True, False)
    assert not any("UPDATE" in statement or "IMMEDIATE" in statement for statement in sent)


def test_a_database_that_cannot_be_written(
    cli: Command, database: Database, stored_hash: Any
) -> None:
    """The password is right all the same; a note says what could not be done."""
    stored_hash(SSHA)
    with database.connect() as connection:
        if database.is_sqlite:
            refuse = "CREATE TRIGGER no BEFORE UPDATE ON users BEGIN SELECT RAISE(ABORT, 'no'); END"
        else:
            refuse = (
                f'ALTER DATABASE "{database.engine.url.database}"'
                " SET default_transaction_read_only = on"
            )
        connection.execute(text(refuse))
        connection.commit()

    done = cli(*VERIFY, stdin="secret")

    assert done.exit_code == 0
    assert done.stdout == VERIFIED.stdout
    beginning = 'note: the hash of "ana@example.com" is weak, and could not be replaced: '
    assert done.stderr.startswith(beginning)
    assert done.stderr.count("\n") == 1
    assert cli(*VERIFY, "-q", stdin="secret") == VERIFIED
    assert stored_hash() == SSHA


def test_a_lock_is_not_waited_for_long(cli: Command, database: Database, stored_hash: Any) -> None:
    stored_hash(SSHA)
    with database.connect() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT id FROM users WHERE id = 1 FOR UPDATE"))
        done = cli(*VERIFY, stdin="secret", env={"USERMGR_LOCK_TIMEOUT": "30"})
        connection.rollback()
    assert (done.exit_code, done.stdout) == (0, VERIFIED.stdout)
    assert done.stderr.startswith('note: the hash of "ana@example.com" is weak, and could not')


def test_a_new_password_that_came_between_wins(
    cli: Command, database: Database, stored_hash: Any
) -> None:
    stored_hash(SSHA)
    with database.read() as connection:
        stored = find_stored(connection, "ana@example.com")
    assert stored == StoredPassword(1, "ana@example.com", SSHA)
    newer = hash_password("a newer password")
    with database.operation("user set-password", "tester") as op:
        set_password(op, "1", newer)
    operations = cli("operation", "list").stdout

    with database.operation("user verify-password", "tester") as op:
        assert replace_hash(op, stored, "late", "rehash", DEFAULT_COSTS) is False

    assert stored_hash() == newer
    assert cli("operation", "list").stdout == operations
    assert SSHA not in repr(stored)


def test_nobody_takes_as_long_as_somebody(
    monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    def taken(reference: str, error: type[UserMgrError], password: str) -> list[str]:
        noted.clear()
        with database.read() as connection, pytest.raises(error):
            verify(find_stored(connection, reference), reference, password, DEFAULT_COSTS)
        return noted[:]

    noted = note_derivations(monkeypatch)
    for password in ("secret", "segre\u0301do"):
        usual = taken("ana@example.com", Mismatch, password)
        assert usual == [f"argon2 {CURRENT}"] * (1 if password.isascii() else 2)
        for reference in ("bruno@example.com", "nobody@example.com", "99", "9" * 30, "no e-mail"):
            error = Mismatch if reference.startswith("bruno") else NotFound
            assert taken(reference, error, password) == usual


def test_what_would_be_cut_is_told(cli: Command, stored_hash: Any) -> None:
    old = PUBLISHED["bcrypt"][0][1]
    for stored in (old, wrap_hash(old)):
        stored_hash(stored)
        done = cli(*VERIFY, stdin="x" * 73)
        assert done == Result(
            2,
            "",
            "error: the password has 73 bytes, and its stored hash is of a kind that looks at 72 "
            "only\nhint: store a new one with: usermgr user set-password\n",
        )
