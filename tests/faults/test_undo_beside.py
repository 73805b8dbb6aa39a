"""Undo beside commands that change the same users at the same moment."""

from __future__ import annotations

import contextlib
import functools
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.commands import Command, run_inside
from tests.support.consistency import broken_promises, stored_state
from tests.support.databases import open_database
from usermgr.db.engine import Operation
from usermgr.errors import Conflict, NotFound
from usermgr.records import LeftAlone, NewUser, UserChanges, UserFilter
from usermgr.services.bulk import change_users
from usermgr.services.bulk_verbs import disabling, granting
from usermgr.services.grants import grant_claims
from usermgr.services.recycling import restore_user
from usermgr.services.undoing import undo_operation
from usermgr.services.users import create_user, delete_users, set_password, update_user

Run = Callable[[Callable[[Operation], Any]], Any]
"""Runs something as one operation."""

USERS = 40
EDITORS, EDITS = 3, 10
IMPORT = 2
"""The id of the operation that created the users."""

WAITING = text(
    "SELECT count(*) FROM pg_locks"
    " WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
)


@pytest.fixture
def imported(cli: Command) -> None:
    """Two claims, a role and forty users, the second operation of all."""
    assert cli("claim", "create", "audit").exit_code == 0
    rows = "".join(f"U {n},u{n}@example.com,member,read\n" for n in range(USERS))
    Path("users.csv").write_text(f"name,email,role,claims\n{rows}")
    new = ("--create-roles", "--create-claims")
    assert cli("user", "import", "users.csv", *new).exit_code == 0


def together(url: str, *works: Callable[[Run], object]) -> None:
    """Start all at one moment, each with a database of its own; raises what any of them raises."""
    barrier = threading.Barrier(len(works))

    def start(work: Callable[[Run], object]) -> None:
        database = open_database(url)

        def run(act: Callable[[Operation], Any]) -> Any:
            with database.operation("test", "tester") as op:
                return act(op)

        barrier.wait()
        work(run)
        database.engine.dispose()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(start, work) for work in works]:
            done.result(timeout=120)


def edit(op: Operation, user: str, verb: int) -> None:
    """One of the changes that commands make, of one user or of several."""
    if verb == 0:
        update_user(op, user, UserChanges(name=f"X {op.id}", role="member"))
    elif verb == 1:
        grant_claims(op, user, ["audit"])
    elif verb == 2:
        set_password(op, user, f"!{op.id}")
    elif verb == 3:
        change_users(op, UserFilter(search=f"u{user}"), disabling)
    elif verb == 4:
        change_users(op, UserFilter(search=f"u{1 + int(user) % 9}"), granting(["audit"]))
    else:
        delete_users(op, [user, str(int(user) - 1)])


def editor(number: int) -> Callable[[Run], None]:
    """Makes some changes of any users but the first, who is left for the undo."""
    draw = random.Random(number)

    def work(run: Run) -> None:
        for _ in range(EDITS):
            user, verb = str(draw.randint(3, USERS)), draw.randint(0, 5)
            with contextlib.suppress(NotFound):
                run(functools.partial(edit, user=user, verb=verb))

    return work


def _undo(run: Run, operation: int) -> list[LeftAlone]:
    def act(op: Operation) -> list[LeftAlone]:
        return list(undo_operation(op, str(operation)).left)

    left: list[LeftAlone] = run(act)
    return left


def _ids(url: str) -> set[int]:
    return {row[0] for row in stored_state(url)["users"]}


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("seed", range(3))
def test_every_user_of_an_import_is_deleted_or_left_and_told(database_url: str, seed: int) -> None:
    left: list[LeftAlone] = []
    editors = [editor(seed * EDITORS + number) for number in range(EDITORS)]
    together(database_url, *editors, lambda run: left.extend(_undo(run, IMPORT)))

    reasons = {each.id: each.reason for each in left if each.entity == "user"}
    assert set(reasons.values()) <= {"was changed since", "was deleted since"}
    # Who is there was left, and told; all others were deleted, by this or by an editor.
    assert _ids(database_url) <= reasons.keys()
    deleted = {row[1] for row in stored_state(database_url)["recycled_users"]}
    assert deleted == set(range(1, USERS + 1)) - _ids(database_url)
    assert 1 in deleted
    assert broken_promises(database_url) == {}


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("seed", range(3))
def test_every_user_of_a_bulk_verb_is_changed_back_or_left_and_told(
    cli: Command, database_url: str, seed: int
) -> None:
    assert cli("user", "disable", "--active").exit_code == 0
    left: list[LeftAlone] = []
    editors = [editor(100 + seed * EDITORS + number) for number in range(EDITORS)]
    together(database_url, *editors, lambda run: left.extend(_undo(run, IMPORT + 1)))

    changes = stored_state(database_url)["changes"]
    undone = {row[3] for row in changes if row[5] == "undo"}
    reasons = {each.id: each.reason for each in left}
    assert set(reasons.values()) <= {"was changed since", "was deleted since"}
    assert undone | reasons.keys() == set(range(1, USERS + 1))
    assert not undone & reasons.keys()
    assert 1 in undone
    assert broken_promises(database_url) == {}


def _count(run: Run, act: Callable[[Operation], object], ends: Counter[str]) -> None:
    try:
        run(act)
    except Conflict as error:
        ends[error.message] += 1
    else:
        ends["done"] += 1


@pytest.mark.usefixtures("imported")
def test_of_several_undos_of_one_operation_one_is_done(database_url: str) -> None:
    ends: Counter[str] = Counter()
    works = [lambda run: _count(run, lambda op: undo_operation(op, str(IMPORT)), ends)] * 4
    together(database_url, *works)
    assert ends.pop("done") == 1
    (message,) = ends
    assert message.startswith(f"operation {IMPORT} was undone by operation ")
    assert _ids(database_url) == set()
    assert broken_promises(database_url) == {}


@pytest.mark.usefixtures("imported")
def test_who_is_brought_back_at_once_comes_back_once(cli: Command, database_url: str) -> None:
    """By the command for one user, and by undo of the deletion of all."""
    assert cli("user", "delete", "--search", "@", "--yes").exit_code == 0
    ends: Counter[str] = Counter()
    left: list[LeftAlone] = []
    restores = [lambda run: _count(run, lambda op: restore_user(op, "7"), ends)] * 3
    together(database_url, *restores, lambda run: left.extend(_undo(run, IMPORT + 1)))

    brought = ends.pop("done", 0)
    assert brought == len(left)
    assert {each.id for each in left} <= {7}
    assert dict(ends) in ({'the user "7" is not deleted': 3 - brought}, {})
    assert _ids(database_url) == set(range(1, USERS + 1))
    assert broken_promises(database_url) == {}


def test_an_e_mail_that_is_taken_meanwhile(migrated_postgresql_url: str) -> None:
    """Whoever takes it has not committed yet when the undo looks for it."""
    url = migrated_postgresql_url
    assert run_inside(("role", "create", "m"), "", {"USERMGR_DATABASE_URL": url}).exit_code == 0
    database = open_database(url)
    new = NewUser("X", "x@example.com", "m")
    with database.operation("test", "tester") as op:
        create_user(op, new)
    with database.operation("test", "tester") as op:
        delete_users(op, ["1"])
        deletion = op.id
    for act in (
        lambda op: undo_operation(op, str(deletion)),
        lambda op: restore_user(op, "1"),
    ):
        with ThreadPoolExecutor(1) as pool:
            with database.operation("test", "tester") as op:
                taken = create_user(op, new)
                other = pool.submit(_in_operation, url, act)
                while not op.connection.execute(WAITING).scalar_one():
                    assert not other.done(), other.result()
            with pytest.raises(Conflict, match="one of the e-mails was taken meanwhile"):
                other.result(timeout=60)
        with database.operation("test", "tester") as op:
            update_user(op, str(taken.id), UserChanges(email=f"{taken.id}@example.com"))
    database.engine.dispose()
    assert broken_promises(url) == {}


def test_the_operation_with_the_lower_id_may_have_come_later(migrated_postgresql_url: str) -> None:
    """Ids are given when operations begin, and a long import changes its users at its end."""
    url = migrated_postgresql_url
    assert run_inside(("role", "create", "m"), "", {"USERMGR_DATABASE_URL": url}).exit_code == 0
    database = open_database(url)

    def left_of(
        earlier: Callable[[Operation], object], later: Callable[[Operation], object]
    ) -> int:
        with database.operation("test", "tester") as slow:
            with database.operation("test", "tester") as quick:
                earlier(quick)
            later(slow)
        assert slow.id < quick.id
        with database.operation("test", "tester", dry_run=True) as op:
            return undo_operation(op, str(quick.id)).number_left

    new = NewUser("X", "x@example.com", "m")
    assert left_of(
        lambda op: create_user(op, new), lambda op: update_user(op, "1", UserChanges(name="Y"))
    )
    assert left_of(
        lambda op: set_password(op, "1", "$argon2id$x"),
        lambda op: set_password(op, "1", "$argon2id$y"),
    )
    database.engine.dispose()


def _in_operation(url: str, act: Callable[[Operation], object]) -> None:
    database = open_database(url)
    with database.operation("test", "tester") as op:
        act(op)
    database.engine.dispose()
