"""user import of plain passwords: only those that will be stored are hashed, and nobody waits."""

from __future__ import annotations

import contextlib
import csv
import io
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.commands import Command
from tests.support.consistency import broken_promises
from tests.support.databases import open_database
from tests.support.people import create_company
from usermgr.hash_limits import DEFAULT_COSTS, Argon2Costs
from usermgr.services import hashing
from usermgr.urls import sqlite_path

HEADER = "name,email,role,password\n"


class Hasher:
    """Makes believe that it hashes, and calls ``meanwhile`` the first time."""

    def __init__(self, url: str) -> None:
        self.secrets: list[str] = []
        self.held = False
        self.meanwhile: Callable[[], object] = lambda: None
        self._url, self._lock = url, threading.Lock()

    def __call__(self, secret: str, _costs: Argon2Costs) -> str:
        with self._lock:
            self.secrets.append(secret)
            if len(self.secrets) == 1:
                self.held = somebody_is_in_a_transaction(self._url)
                self.meanwhile()
        return "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2E$" + secret.encode().hex()


def somebody_is_in_a_transaction(url: str) -> bool:
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(sqlite_path(url), timeout=0)) as file:
            try:
                file.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                return True
        return False
    database = open_database(url)
    with database.connect() as connection:
        others = connection.execute(
            text("""
                SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
            """)
        ).scalar_one()
    database.engine.dispose()
    return bool(others)


@pytest.fixture
def hasher(cli: Command, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Hasher:
    create_company(cli)
    made = Hasher(database_url)
    monkeypatch.setattr(hashing, "hash_password", made)
    return made


def people(numbers: range, *, secret: str = "", name: str = "P") -> str:
    return "".join(
        f"{name},p{n}@example.com,member,{secret and f'{secret} {n}'}\n" for n in numbers
    )


def stored(url: str) -> dict[str, str]:
    """What is stored as passwords, the marker for none left out."""
    database = open_database(url)
    with database.connect() as connection:
        rows = connection.execute(text("SELECT email, password FROM users")).all()
    database.engine.dispose()
    return {row.email: row.password for row in rows if row.password != "!"}


def of(secret: str) -> str:
    return secret.encode().hex()


@pytest.mark.parametrize("name", ["P", "P" * 190])
def test_passwords_that_begin_late_are_hashed_before_anything_is_locked(
    cli: Command, database_url: str, hasher: Hasher, name: str
) -> None:
    """Long names make a file that a process of its own reads."""
    content = HEADER + people(range(12_000 if len(name) > 1 else 3_000), name=name)
    Path("x.csv").write_text(content + people(range(50_000, 50_020), secret="sesame now opens"))
    done = cli("user", "import", "x.csv", "-o", "json")
    assert (done.exit_code, done.stderr, hasher.held) == (0, "", False)
    assert sorted(hasher.secrets) == [f"sesame now opens {n}" for n in range(50_000, 50_020)]
    found = {email: value.rpartition("$")[2] for email, value in stored(database_url).items()}
    assert found == {
        f"p{n}@example.com": of(f"sesame now opens {n}") for n in range(50_000, 50_020)
    }
    assert broken_promises(database_url) == {}


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        ((), 4),
        (("--on-conflict", "skip"), 0),
        (("--on-conflict", "update"), 0),
        (("--on-conflict", "update", "--passwords", "set", "--dry-run"), 0),
        (("--on-conflict", "update", "--passwords", "set", "--max-errors", "0"), 2),
        (("--on-conflict", "skip", "--generate-passwords", "new.csv"), 0),
    ],
)
def test_nothing_is_hashed_that_is_not_stored(
    cli: Command, database_url: str, hasher: Hasher, words: tuple[str, ...], exit_code: int
) -> None:
    rows = (
        "Ana Souza,ana@example.com,admin,sesame now opens 1\nBruno Lima,bruno@example.com,member,\n"
    )
    if exit_code == 2:
        rows += (
            people(range(5), secret="sesame now opens")
            + "N,n@example.com,nobody,sesame now opens\n"
        )
    Path("x.csv").write_text(HEADER + rows)
    done = cli("user", "import", "x.csv", *words)
    assert (done.exit_code, hasher.secrets, stored(database_url)) == (exit_code, [], {})


def test_only_rows_that_are_stored_have_their_passwords_hashed(
    cli: Command, database_url: str, hasher: Hasher
) -> None:
    rows = "Ana Souza,ana@example.com,admin,sesame now opens\n"
    rows += "N,n@example.com,nobody,sesame now opens 1\n"
    Path("x.csv").write_text(HEADER + rows + people(range(3), secret="sesame now opens"))
    words = ("--on-error", "skip", "--rejects", "r.csv", "--results", "o.csv", "-o", "json")
    done = cli("user", "import", "x.csv", *words)
    assert (done.exit_code, done.json["read"], done.json["created"]) == (6, 5, 3)
    assert sorted(hasher.secrets) == [f"sesame now opens {n}" for n in range(3)]
    assert len(Path("r.csv").read_text().splitlines()) == 3
    assert len(Path("o.csv").read_text().splitlines()) == 4
    assert len(stored(database_url)) == 3


def test_passwords_are_set_where_that_was_asked_for(
    cli: Command, database_url: str, hasher: Hasher
) -> None:
    rows = (
        "Ana Souza,ana@example.com,admin,sesame now opens\nBruno Lima,bruno@example.com,member,\n"
    )
    Path("x.csv").write_text(HEADER + rows + "N,n@example.com,member,\n")
    words = ("--on-conflict", "update", "--passwords", "set", "--generate-passwords", "p.csv")
    done = cli("user", "import", "x.csv", *words, "-o", "json")
    assert (done.exit_code, done.stderr, done.json["updated"]) == (0, "", 1)
    (written,) = csv.DictReader(io.StringIO(Path("p.csv").read_text()))
    assert written["email"] == "n@example.com"
    found = {email: value.rpartition("$")[2] for email, value in stored(database_url).items()}
    # Bruno, who has no password in the file, keeps what he has.
    assert found == {
        "ana@example.com": of("sesame now opens"),
        "n@example.com": of(written["password"]),
    }
    assert len(hasher.secrets) == 2


def test_who_is_deleted_meanwhile_is_created_with_the_password(
    cli: Command, database_url: str, hasher: Hasher
) -> None:
    rows = "Ana Souza,ana@example.com,admin,sesame now opens\n" + people(
        range(3), secret="sesame now opens"
    )
    Path("x.csv").write_text(HEADER + rows)
    hasher.meanwhile = lambda: cli("user", "delete", "ana@example.com", "--yes")
    done = cli("user", "import", "x.csv", "--on-conflict", "skip", "-o", "json")
    assert (done.exit_code, done.json["created"]) == (0, 4)
    # What was hashed the first time is not hashed again.
    assert sorted(hasher.secrets) == [
        "sesame now opens",
        *(f"sesame now opens {n}" for n in range(3)),
    ]
    assert stored(database_url)["ana@example.com"].endswith(of("sesame now opens"))
    assert len(stored(database_url)) == 4
    assert broken_promises(database_url) == {}


def test_who_is_created_meanwhile_keeps_the_password(
    cli: Command, database_url: str, hasher: Hasher
) -> None:
    Path("x.csv").write_text("name,email,role\nA,a@example.com,member\nB,b@example.com,member\n")
    person = ("--name", "A", "--email", "a@example.com", "--role", "member", "--no-password")
    hasher.meanwhile = lambda: cli("user", "create", *person)
    words = ("--on-conflict", "update", "--passwords", "set", "--generate-passwords", "p.csv")
    done = cli("user", "import", "x.csv", *words, "-o", "json")
    assert (done.exit_code, done.json["created"], done.json["unchanged"]) == (0, 1, 1)
    (written,) = csv.DictReader(io.StringIO(Path("p.csv").read_text()))
    assert (written["email"], list(stored(database_url))) == ("b@example.com", ["b@example.com"])


def test_the_time_that_hashing_takes_is_told(
    cli: Command, hasher: Hasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    from usermgr.cli import import_run

    monkeypatch.setattr(import_run, "measure_rate", lambda _: 4.0)
    Path("x.csv").write_text(HEADER + people(range(100), secret="sesame now opens"))
    done = cli("user", "import", "x.csv", "--on-conflict", "skip")
    assert (done.exit_code, len(hasher.secrets)) == (0, 100)
    assert done.stderr == "note: hashing 100 passwords takes about 25 seconds\n"


def test_hashes_come_in_order_and_work_is_found_far_ahead() -> None:
    secrets = [(n, None if n % 70 else f"secret {n}") for n in range(281)]
    told: list[int] = []
    made = list(hashing.hash_all(secrets, DEFAULT_COSTS, progress=told.append))
    assert [(n, bool(stored)) for n, stored in made] == [(n, n % 70 == 0) for n in range(281)]
    assert sum(told) == 5
