"""Imports on PostgreSQL beside commands for single users: each sees the other's work whole, or not.

The commands run while the import waits for a lock that the test holds, so that they come between
its steps: it has read the file and matched it with what was stored, and has not changed anything.
"""

from __future__ import annotations

import contextlib
import csv
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.commands import Result, process_environment, run_inside
from tests.support.consistency import broken_promises
from tests.support.databases import open_database
from usermgr.db.engine import Operation
from usermgr.records import NewUser, UserChanges
from usermgr.services import users

WAITING = text(
    "SELECT count(*) FROM pg_locks"
    " WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
)
STORED = 8
COUNTS = ("created", "updated", "unchanged", "skipped", "rejected")


@pytest.fixture
def url(migrated_postgresql_url: str) -> str:
    """A database with users p0 to p7, of whom the file knows all but the last two."""
    people = [
        {"name": f"P{n}", "email": f"p{n}@example.com", "role": "member", "claims": ["read"]}
        for n in range(STORED)
    ]
    made = run(
        *(migrated_postgresql_url, "user", "import", "-", "--create-roles", "--create-claims"),
        stdin=json.dumps(people),
    )
    assert made.exit_code == 0
    for name in ("write", "other"):
        assert run(migrated_postgresql_url, "claim", "create", name).exit_code == 0
    return migrated_postgresql_url


def run(url: str, *words: str, stdin: str = "") -> Result:
    return run_inside(words, stdin, settings(url))


def settings(url: str) -> dict[str, str]:
    return {"USERMGR_DATABASE_URL": url, "USERMGR_LOCK_TIMEOUT": "60"}


@contextlib.contextmanager
def started(url: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """An import that runs beside the block, and not longer when the block fails."""
    with subprocess.Popen(
        [sys.executable, "-m", "usermgr", "user", "import", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**process_environment(), **settings(url)},
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def rows(url: str) -> dict[str, list[Any]]:
    """The name, claims and version of each user, by e-mail."""
    listed = run(url, "user", "list", "--all", "-o", "json").json
    return {user["email"]: [user["name"], user["claims"], user["version"]] for user in listed}


@contextlib.contextmanager
def import_that_waits(
    url: str,
    hold: Callable[[Operation], object],
    *words: str,
    undo: bool = False,
    numbers: Sequence[int] = (0, 1, 2, 3, 4, 5, 20, 21),
) -> Iterator[list[Result]]:
    """While the block runs, an import waits for what ``hold`` changed, which is then committed, or
    undone; afterwards the list has the import's result."""
    people = [
        {"name": f"New {n}", "email": f"p{n}@example.com", "role": "member", "claims": ["write"]}
        for n in numbers
    ]
    Path("file.json").write_text(json.dumps(people))
    database = open_database(url)
    ended: list[Result] = []
    with contextlib.ExitStack() as stack:
        with database.operation("hold", "tester", dry_run=undo) as op:
            hold(op)
            process = stack.enter_context(started(url, "file.json", *words))
            while not op.connection.execute(WAITING).scalar_one():
                assert process.poll() is None, process.communicate()
            yield ended
        stdout, stderr = process.communicate(timeout=60)
        ended.append(Result(process.returncode, stdout, stderr))
    database.engine.dispose()


def check(url: str, done: Result) -> list[list[str]]:
    """That history and report agree with the rows; returns what the results say of each row."""
    assert broken_promises(url) == {}
    assert run(url, "schema", "check").exit_code == 0
    report = done.json
    assert sum(report[name] for name in COUNTS) == report["read"] == 8
    with Path("results.csv").open() as file:
        _, *results = csv.reader(file)
    outcomes = [outcome for _, _, outcome in results]
    for name in COUNTS[:-1]:
        assert outcomes.count(name) == report[name]
    if report["operation_id"] is not None:
        shown = run(url, "operation", "show", str(report["operation_id"]), "-o", "json").json
        told = {
            "user.create": report["created"],
            "user.update": report["updated"],
            "grant.create": report["grants_added"],
            "grant.delete": report["grants_removed"],
        }
        assert shown["counts"] == {name: number for name, number in told.items() if number}
    return results


UPDATE = ("--on-conflict", "update", "--results", "results.csv", "-o", "json")
SKIP = ("--on-conflict", "skip", "--results", "results.csv", "-o", "json")
FAIL = ("--results", "results.csv", "-o", "json")


def create_last(op: Operation) -> None:
    """Take an e-mail of the file, without saying so yet."""
    users.create_user(op, NewUser("Held", "p21@example.com", "member"))


def test_an_update_meets_changes_of_the_same_users(url: str) -> None:
    with import_that_waits(url, lambda op: users.delete_user(op, "p0@example.com"), *UPDATE) as end:
        for words in (
            ("update", "p1@example.com", "--name", "Between"),
            ("grant", "p2@example.com", "write", "other"),
            ("delete", "p3@example.com", "--yes"),
            ("update", "p4@example.com", "--email", "moved@example.com"),
            ("disable", "p5@example.com"),
            ("grant", "p6@example.com", "other"),
            ("delete", "p7@example.com", "--yes"),
            ("create", "--name", "First", "--email", "p20@example.com", "--role", "member"),
        ):
            assert run(url, "user", *words).exit_code == 0
    (done,) = end
    assert (done.exit_code, done.stderr) == (0, "")
    # As if all of them had come before the import: it is the last that changed these users.
    assert rows(url) == {
        "p1@example.com": ["New 1", ["write"], 3],
        "p2@example.com": ["New 2", ["write"], 3],
        "p5@example.com": ["New 5", ["write"], 3],
        "moved@example.com": ["P4", ["read"], 2],
        "p6@example.com": ["P6", ["other", "read"], 2],
        "p20@example.com": ["New 20", ["write"], 2],
        "p0@example.com": ["New 0", ["write"], 1],
        "p3@example.com": ["New 3", ["write"], 1],
        "p4@example.com": ["New 4", ["write"], 1],
        "p21@example.com": ["New 21", ["write"], 1],
    }
    results = check(url, done)
    assert [outcome for _, _, outcome in results] == [
        *("created", "updated", "updated", "created", "created", "updated", "updated", "created")
    ]
    for email, user_id, _ in results:
        assert run(url, "user", "show", email, "-o", "json").json["id"] == int(user_id)


def test_a_user_who_gets_another_e_mail_is_not_updated(url: str) -> None:
    moved = UserChanges(email="moved@example.com")
    with import_that_waits(
        url, lambda op: users.update_user(op, "p0@example.com", moved), *UPDATE
    ) as end:
        pass
    (done,) = end
    assert (done.exit_code, done.stderr) == (0, "")
    found = rows(url)
    assert found["moved@example.com"] == ["P0", ["read"], 2]
    assert found["p0@example.com"] == ["New 0", ["write"], 1]
    assert [outcome for _, _, outcome in check(url, done)][:2] == ["created", "updated"]


def test_a_row_that_can_only_update_is_bad_when_its_user_is_gone(url: str) -> None:
    words = ("--ignore-column", "name", "--on-error", "skip", *UPDATE)
    with import_that_waits(
        url, lambda op: users.delete_user(op, "p0@example.com"), *words, numbers=range(6)
    ) as end:
        assert run(url, "user", "delete", "p3@example.com", "--yes").exit_code == 0
    (done,) = end
    assert done.exit_code == 6
    told = json.loads(done.stderr)["error"]
    assert told["message"].splitlines()[1:] == ["  line 1: the name is missing"] * 2
    found = rows(url)
    assert "p0@example.com" not in found
    assert found["p1@example.com"] == ["P1", ["write"], 2]
    assert broken_promises(url) == {}


def test_an_update_that_the_other_undoes_is_as_if_it_had_never_been(url: str) -> None:
    with import_that_waits(
        url, lambda op: users.delete_user(op, "p0@example.com"), *UPDATE, undo=True
    ) as end:
        pass
    (done,) = end
    assert (done.exit_code, done.stderr) == (0, "")
    assert rows(url)["p0@example.com"] == ["New 0", ["write"], 2]
    assert (done.json["created"], done.json["updated"]) == (2, 6)
    check(url, done)


@pytest.mark.parametrize("undo", [False, True])
def test_users_that_are_passed_over_may_change(url: str, undo: bool) -> None:
    with import_that_waits(url, create_last, *SKIP, undo=undo) as end:
        for words in (
            ("update", "p0@example.com", "--email", "moved@example.com"),
            ("revoke", "p1@example.com", "read"),
            ("delete", "p6@example.com", "--yes"),
            ("create", "--name", "Beside", "--email", "beside@example.com", "--role", "member"),
        ):
            assert run(url, "user", *words).exit_code == 0
    (done,) = end
    assert (done.exit_code, done.stderr) == (0, "")
    found = rows(url)
    assert found["moved@example.com"] == ["P0", ["read"], 2]
    assert found["p1@example.com"] == ["P1", [], 2]
    assert found["p20@example.com"] == ["New 20", ["write"], 1]
    assert found["p21@example.com"] == (["New 21", ["write"], 1] if undo else ["Held", [], 1])
    outcomes = {email: outcome for email, _, outcome in check(url, done)}
    # Undone, the import went on with what it had seen before; else it looked once more.
    assert outcomes["p0@example.com"] == ("skipped" if undo else "created")
    assert outcomes["p21@example.com"] == ("created" if undo else "skipped")
    assert ("p0@example.com" in found) is not undo


NEW = range(20, 28)


def create_beside(url: str) -> None:
    """What commands do to users that the import has nothing to do with."""
    for words in (
        ("update", "p0@example.com", "--name", "Between"),
        ("grant", "p1@example.com", "write"),
        ("delete", "p2@example.com", "--yes"),
        ("create", "--name", "Beside", "--email", "beside@example.com", "--role", "member"),
    ):
        assert run(url, "user", *words).exit_code == 0


def test_all_or_nothing_meets_a_user_who_takes_an_e_mail(url: str) -> None:
    with import_that_waits(url, create_last, *FAIL, numbers=NEW) as end:
        create_beside(url)
    (done,) = end
    assert (done.exit_code, done.stdout) == (4, "")
    told = json.loads(done.stderr)["error"]["message"]
    assert told.splitlines() == [
        "1 of 8 rows are bad: nothing was stored",
        '  line 1: the e-mail "p21@example.com" is taken',
    ]
    found = rows(url)
    assert found.pop("p21@example.com") == ["Held", [], 1]
    assert found.pop("beside@example.com") == ["Beside", [], 1]
    assert found.pop("p1@example.com") == ["P1", ["read", "write"], 2]
    assert set(found) == {f"p{n}@example.com" for n in (0, 3, 4, 5, 6, 7)}
    assert broken_promises(url) == {}


@pytest.mark.parametrize("undo", [False, True])
def test_the_others_are_stored_beside_a_user_who_takes_an_e_mail(url: str, undo: bool) -> None:
    words = ("--on-error", "skip", *FAIL)
    with import_that_waits(url, create_last, *words, numbers=NEW, undo=undo) as end:
        create_beside(url)
    (done,) = end
    assert done.exit_code == (0 if undo else 6)
    found = rows(url)
    for number in NEW:
        mine = number != 21 or undo
        expected = [f"New {number}", ["write"], 1] if mine else ["Held", [], 1]
        assert found[f"p{number}@example.com"] == expected
    assert found["p1@example.com"] == ["P1", ["read", "write"], 2]
    check(url, done)


@pytest.mark.parametrize("undo", [False, True])
def test_tables_that_somebody_is_about_to_use_are_not_locked(url: str, undo: bool) -> None:
    """They look empty, and so the import would rather have them for itself."""
    everybody = [str(user["id"]) for user in run(url, "user", "list", "-o", "json").json]
    assert run(url, "user", "delete", *everybody, "--yes").exit_code == 0
    words = ("--on-error", "skip", *FAIL)
    with import_that_waits(url, create_last, *words, numbers=NEW, undo=undo) as end:
        beside = ("create", "--name", "Beside", "--email", "beside@example.com")
        assert run(url, "user", *beside, "--role", "member").exit_code == 0
    (done,) = end
    assert done.exit_code == (0 if undo else 6)
    assert len(rows(url)) == 9
    check(url, done)


def test_what_a_file_names_stays_until_the_import_is_done(url: str) -> None:
    impatient = {**settings(url), "USERMGR_LOCK_TIMEOUT": "0.2"}
    with import_that_waits(url, create_last, *SKIP) as end:
        for words in (
            ("claim", "delete", "write"),
            ("claim", "update", "write", "--name", "edit"),
            ("role", "delete", "member"),
        ):
            waited = run_inside(words, "", impatient)
            assert (waited.exit_code, waited.stdout) == (5, "")
            assert "lock" in waited.stderr
    (done,) = end
    assert (done.exit_code, done.stderr) == (0, "")
    assert rows(url)["p20@example.com"] == ["New 20", ["write"], 1]
    check(url, done)


MANY = 15_000
WAYS = {
    "rebuild": ("--on-error", "skip"),
    "append": ("--on-error", "skip"),
    "skip": ("--on-conflict", "skip"),
    "update": ("--on-conflict", "update"),
    "exclusive": ("--exclusive", "--on-error", "skip"),
}


def random_command(chance: random.Random) -> tuple[str, ...]:
    """A command for a user in the file, or for one of those who are not."""
    number = chance.choice([*range(30), MANY - 1, MANY + 1])
    email = f"p{number}@example.com"
    return chance.choice(
        [
            (
                "create",
                "--name",
                "Command",
                "--email",
                email,
                "--role",
                "member",
                "--claim",
                "read",
            ),
            ("update", email, "--name", f"Command {chance.random()}"),
            ("update", email, "--email", f"moved{chance.randrange(10**9)}@example.com"),
            ("grant", email, "other", "write"),
            ("revoke", email, "write"),
            ("disable", email),
            ("delete", email, "--yes"),
        ]
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_large_import_beside_many_commands(migrated_postgresql_url: str, way: str) -> None:
    url = migrated_postgresql_url
    for words in (
        ("role", "create", "member"),
        ("role", "create", "guest"),
        *(("claim", "create", name) for name in ("read", "write", "other")),
    ):
        assert run(url, *words).exit_code == 0
    if way != "rebuild":  # Some users are there already; the other ways begin with nobody.
        there = "".join(f"There {n},p{n}@example.com,guest,read\n" for n in range(20))
        if way in ("append", "exclusive"):
            there = there.replace(",p", ",there")
        made = run(url, "user", "import", "-", stdin="name,email,role,claims\n" + there)
        assert made.exit_code == 0
    lines = (f"File {n} {'x' * 150},p{n}@example.com,member,write;read\n" for n in range(MANY))
    Path("file.csv").write_text("name,email,role,claims\n" + "".join(lines))
    chance = random.Random(way)
    ended: list[Result] = []
    with started(url, "file.csv", "-o", "json", *WAYS[way]) as process:
        while process.poll() is None or len(ended) < 20:
            done = run(url, "user", *random_command(chance))
            # Done, not found, taken; nothing else can happen to a command.
            assert done.exit_code in (0, 3, 4), done
            ended.append(done)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode in (0, 6), stderr
    assert broken_promises(url) == {}
    assert run(url, "schema", "check").exit_code == 0
    report = json.loads(stdout)
    database = open_database(url)
    with database.connect() as connection:
        imported = text(
            "SELECT count(*) FROM changes WHERE operation_id = :id AND action = 'update'"
        )
        updated = connection.execute(imported, {"id": report["operation_id"]}).scalar_one()
        untouched = text(
            "SELECT name, role_id, active, (SELECT count(*) FROM user_claims WHERE user_id = id)"
            " FROM users WHERE created_in = :id AND version = 1"
        )
        created = connection.execute(untouched, {"id": report["operation_id"]}).all()
    database.engine.dispose()
    assert updated == report["updated"]
    assert sum(report[name] for name in COUNTS) == report["read"] == MANY
    assert len(created) > MANY - 100
    assert {(role, active, claims) for _, role, active, claims in created} == {(1, True, 2)}
    assert all(name.startswith("File ") for name, *_ in created)
