"""Two commands on PostgreSQL whose statements interleave: both end well or with a reason.

The first one is played by the test: it holds its locks until the other waits for them.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.commands import Result, process_environment, run_inside
from tests.support.consistency import broken_promises
from tests.support.databases import open_database
from usermgr.db.engine import Operation
from usermgr.errors import Unavailable
from usermgr.records import NewUser, UserChanges
from usermgr.services import claims, grants, roles, users

WAITING = text(
    "SELECT count(*) FROM pg_locks"
    " WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
)


@pytest.fixture
def url(migrated_postgresql_url: str) -> str:
    """A database with two users, two roles and two claims."""
    for words in (
        ("role", "create", "admin"),
        ("role", "create", "member"),
        ("claim", "create", "read"),
        ("claim", "create", "write"),
        ("user", "create", "--name", "A", "--email", "a@example.com", "--role", "admin"),
        ("user", "create", "--name", "B", "--email", "b@example.com", "--role", "admin"),
    ):
        assert _run(migrated_postgresql_url, *words).exit_code == 0
    return migrated_postgresql_url


def _run(url: str, *words: str) -> Result:
    return run_inside(words, "", {"USERMGR_DATABASE_URL": url})


def _start(url: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "usermgr", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**process_environment(), "USERMGR_DATABASE_URL": url},
    )


def _race(
    url: str,
    first: Callable[[Operation], object],
    *words: str,
    then: Callable[[Operation], object] = lambda _: None,
) -> Result:
    """How the command ends that waits for what ``first`` changed; ``then`` runs while it waits."""
    database = open_database(url)
    with contextlib.ExitStack() as ended:
        with database.operation("first", "tester") as op:
            first(op)
            process = ended.enter_context(_start(url, *words))
            while not op.connection.execute(WAITING).scalar_one():
                assert process.poll() is None, process.communicate()
            then(op)
        stdout, stderr = process.communicate(timeout=60)
    database.engine.dispose()
    return Result(process.returncode, stdout, stderr)


@pytest.mark.parametrize(
    ("first", "words", "message"),
    [
        pytest.param(
            lambda op: users.delete_user(op, "1"),
            ("user", "grant", "1", "read"),
            'no user "1"',
            id="grant to a user who is deleted",
        ),
        pytest.param(
            lambda op: users.delete_user(op, "1"),
            ("user", "delete", "a@example.com", "--yes"),
            'no user "1"',
            id="two deletes",
        ),
        pytest.param(
            lambda op: claims.delete_claim(op, "write"),
            ("user", "grant", "1", "write"),
            'no claim "write"',
            id="grant of a claim that is deleted",
        ),
        pytest.param(
            lambda op: claims.delete_claim(op, "write"),
            ("user", "grant", "1", "read", "write"),
            'one of the claims "read", "write" was deleted meanwhile',
            id="grant of two claims of which one is deleted",
        ),
        pytest.param(
            lambda op: claims.delete_claim(op, "write"),
            (
                *("user", "create", "--name", "C", "--email", "c@example.com"),
                *("--role", "admin", "--claim", "read", "--claim", "write"),
            ),
            'one of the claims "read", "write" was deleted meanwhile',
            id="create with a claim that is deleted",
        ),
        pytest.param(
            lambda op: roles.delete_role(op, "member"),
            ("user", "create", "--name", "C", "--email", "c@example.com", "--role", "member"),
            'no role "member"',
            id="create with a role that is deleted",
        ),
        pytest.param(
            lambda op: roles.delete_role(op, "member"),
            ("user", "update", "1", "--role", "member"),
            'no role "member"',
            id="update to a role that is deleted",
        ),
        pytest.param(
            lambda op: roles.delete_role(op, "member"),
            ("role", "update", "member", "--name", "other"),
            'no role "member"',
            id="rename of a role that is deleted",
        ),
        pytest.param(
            lambda op: (
                roles.rename_role(op, "member", "guest"),
                roles.create_role(op, "member"),
            ),
            ("role", "update", "member", "--name", "other"),
            'no role "member"',
            id="rename of a role whose name another one takes",
        ),
    ],
)
def test_what_is_gone_by_then_is_not_found(
    url: str, first: Callable[[Operation], object], words: tuple[str, ...], message: str
) -> None:
    done = _race(url, first, *words)

    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith(f"error: {message}\nhint: ")
    assert broken_promises(url) == {}


@pytest.mark.parametrize(
    ("first", "words", "message"),
    [
        pytest.param(
            lambda op: grants.grant_claims(op, "1", ["write"]),
            ("claim", "delete", "write"),
            'the claim "write" is in use by 1 user',
            id="delete of a claim that is granted",
        ),
        pytest.param(
            lambda op: users.create_user(op, NewUser("C", "c@example.com", "member")),
            ("role", "delete", "member"),
            'the role "member" is in use by 1 user',
            id="delete of a role that a new user has",
        ),
        pytest.param(
            lambda op: roles.rename_role(op, "member", "guest"),
            ("role", "update", "admin", "--name", "GUEST"),
            'the role "GUEST" exists already',
            id="two roles with one new name",
        ),
        pytest.param(
            lambda op: users.update_user(op, "1", UserChanges(email="new@example.com")),
            ("user", "update", "2", "--email", "NEW@example.com"),
            'the e-mail "new@example.com" is taken',
            id="two users with one new e-mail",
        ),
    ],
)
def test_what_is_taken_by_then_is_a_conflict(
    url: str, first: Callable[[Operation], object], words: tuple[str, ...], message: str
) -> None:
    done = _race(url, first, *words)

    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr.startswith(f"error: {message}\nhint: ")
    assert broken_promises(url) == {}


def test_a_claim_that_is_renamed_and_granted_meanwhile_is_held(url: str) -> None:
    def first(op: Operation) -> None:
        grants.grant_claims(op, "1", ["write"])
        claims.update_claim(op, "write", name="edit")

    done = _race(url, first, "user", "grant", "1", "write")

    assert (done.exit_code, done.stderr) == (0, "")
    assert _run(url, "user", "show", "1", "-o", "json").json["claims"] == ["edit"]
    assert len(_run(url, "user", "history", "1", "-o", "json").json) == 2


def test_a_claim_that_is_renamed_meanwhile_is_revoked(url: str) -> None:
    assert _run(url, "user", "grant", "1", "write").exit_code == 0

    def first(op: Operation) -> None:
        users.update_user(op, "1", UserChanges(name="New"))
        claims.update_claim(op, "write", name="edit")

    done = _race(url, first, "user", "revoke", "1", "write")

    assert (done.exit_code, done.stderr) == (0, "")
    assert _run(url, "user", "show", "1", "-o", "json").json["claims"] == []


def test_an_e_mail_that_is_freed_meanwhile_is_taken(url: str) -> None:
    words = ("user", "update", "1", "--email", "b@example.com")

    done = _race(url, lambda op: users.delete_user(op, "2"), *words)

    assert (done.exit_code, done.stderr) == (0, "")
    assert _run(url, "user", "show", "b@example.com", "-o", "json").json["id"] == 1
    assert broken_promises(url) == {}


def test_two_deletes_of_two_users_in_opposite_order(url: str) -> None:
    """Both lock the users in the order of their ids, and so nobody waits in a circle."""
    words = ("user", "delete", "2", "1", "--yes")

    done = _race(url, lambda op: users.delete_users(op, ["1", "2"]), *words)

    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith('error: no user "2"\n')
    assert _run(url, "user", "list", "-o", "json").json == []
    assert broken_promises(url) == {}


def test_two_deletes_in_opposite_order_in_one_operation(url: str) -> None:
    """PostgreSQL ends one of the two; which one it is depends on who looks for deadlocks first."""
    words = ("user", "delete", "2", "1", "--yes")

    with contextlib.suppress(Unavailable):
        done = _race(
            *(url, lambda op: users.delete_user(op, "2"), *words),
            then=lambda op: users.delete_user(op, "1"),
        )
        assert (done.exit_code, done.stdout) == (5, "")
        assert done.stderr.startswith("error: another command wanted the same rows (deadlock)")

    assert _run(url, "user", "list", "-o", "json").json == []
    assert broken_promises(url) == {}


DISABLED = UserChanges(active=False)
GOES = (
    ("user", "disable", "2"),
    ("user", "delete", "2", "--yes"),
    ("user", "update", "2", "--role", "member"),
)


@pytest.mark.parametrize("words", GOES, ids=" ".join)
@pytest.mark.parametrize(
    "first",
    [
        pytest.param(lambda op: users.update_user(op, "1", DISABLED), id="disable"),
        pytest.param(lambda op: users.delete_users(op, ["1"]), id="delete"),
        pytest.param(lambda op: users.update_user(op, "1", UserChanges(role="member")), id="move"),
    ],
)
def test_of_two_commands_that_take_the_last_two_users_of_a_role_one_fails(
    url: str, first: Callable[[Operation], object], words: tuple[str, ...]
) -> None:
    assert _run(url, "role", "protect", "admin").exit_code == 0

    done = _race(url, first, *words)

    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr.startswith(
        'error: no active user would be left with the protected role "admin"\nhint: '
    )
    assert _run(url, "user", "list", "--role", "admin", "--active", "-o", "json").json != []
    assert broken_promises(url) == {}


def test_of_two_commands_that_take_the_last_two_holders_of_a_claim_one_fails(url: str) -> None:
    for words in (("user", "grant", "1", "read"), ("user", "grant", "2", "read")):
        assert _run(url, *words).exit_code == 0
    assert _run(url, "claim", "protect", "read").exit_code == 0

    done = _race(*(url, lambda op: users.revoke_claims(op, "1", ["read"])), "user", "disable", "2")

    assert (done.exit_code, done.stdout) == (7, "")
    assert 'the protected claim "read"' in done.stderr
    assert broken_promises(url) == {}


def test_a_role_that_is_no_longer_protected_by_then_keeps_nobody(url: str) -> None:
    assert _run(url, "user", "disable", "1").exit_code == 0
    assert _run(url, "role", "protect", "admin").exit_code == 0

    done = _race(
        *(url, lambda op: roles.protect_roles(op, ["admin"], protected=False)),
        *("user", "disable", "2"),
    )

    assert (done.exit_code, done.stderr) == (0, "")


def test_a_user_who_gets_the_role_meanwhile_lets_the_other_go(url: str) -> None:
    assert _run(url, "user", "update", "1", "--role", "member").exit_code == 0
    assert _run(url, "role", "protect", "admin").exit_code == 0

    def first(op: Operation) -> None:
        users.update_user(op, "1", UserChanges(role="admin"))
        users.update_user(op, "2", UserChanges(name="New"))

    done = _race(url, first, "user", "disable", "2")

    assert (done.exit_code, done.stderr) == (0, "")


def test_who_grants_a_protected_role_does_not_wait_for_a_guard(url: str) -> None:
    """A guard keeps other guards out, and not those who refer to what it has locked."""
    assert _run(url, "role", "protect", "admin").exit_code == 0
    new = ("--name", "C", "--email", "c@example.com", "--role", "admin", "--no-password")
    database = open_database(url)
    with database.operation("first", "tester") as op:
        users.update_user(op, "1", DISABLED)
        created = _run(url, "user", "create", *new)
    database.engine.dispose()

    assert (created.exit_code, created.stderr) == (0, "")


@pytest.mark.parametrize("words", GOES, ids=" ".join)
def test_on_sqlite_as_well_the_second_of_the_last_two_stays(
    migrated_sqlite_url: str, words: tuple[str, ...]
) -> None:
    url = migrated_sqlite_url
    for line in (
        ("role", "create", "admin"),
        ("role", "create", "member"),
        ("user", "create", "--name", "A", "--email", "a@example.com", "--role", "admin"),
        ("user", "create", "--name", "B", "--email", "b@example.com", "--role", "admin"),
        ("role", "protect", "admin"),
    ):
        assert _run(url, *line).exit_code == 0
    database = open_database(url)
    with contextlib.ExitStack() as ended:
        with database.operation("first", "tester") as op:
            users.update_user(op, "1", DISABLED)
            process = ended.enter_context(_start(url, *words))
            with pytest.raises(subprocess.TimeoutExpired):  # It waits for the write lock.
                process.wait(timeout=1)
        stdout, stderr = process.communicate(timeout=60)
    database.engine.dispose()

    assert (process.returncode, stdout) == (7, "")
    assert 'the protected role "admin"' in stderr
    assert broken_promises(url) == {}


SELECTED = (
    ("user", "disable", "--where-role", "admin", "--search", "b@"),
    ("user", "set-role", "member", "--search", "b@"),
    ("user", "delete", "--search", "b@", "--yes"),
)


@pytest.mark.parametrize("words", SELECTED, ids=" ".join)
def test_a_bulk_verb_does_not_take_the_last_one_either(url: str, words: tuple[str, ...]) -> None:
    assert _run(url, "role", "protect", "admin").exit_code == 0

    done = _race(url, lambda op: users.update_user(op, "1", DISABLED), *words)

    assert (done.exit_code, done.stdout) == (7, "")
    assert 'the protected role "admin"' in done.stderr
    assert broken_promises(url) == {}


def test_an_import_does_not_take_the_last_one_either(url: str, tmp_path: Path) -> None:
    assert _run(url, "role", "protect", "admin").exit_code == 0
    (tmp_path / "x.csv").write_text("email,name,role\nb@example.com,B,member\n")
    words = ("user", "import", str(tmp_path / "x.csv"), "--on-conflict", "update")

    done = _race(url, lambda op: users.update_user(op, "1", DISABLED), *words)

    assert (done.exit_code, done.stdout) == (7, "")
    assert 'the protected role "admin"' in done.stderr
    assert broken_promises(url) == {}


@pytest.mark.parametrize(
    ("first", "words", "changed"),
    [
        pytest.param(
            lambda op: users.update_user(op, "2", UserChanges(role="member")),
            ("user", "disable", "--where-role", "admin"),
            1,
            id="no longer has the role",
        ),
        pytest.param(
            lambda op: users.revoke_claims(op, "2", ["read"]),
            ("user", "disable", "--where-claim", "read"),
            1,
            id="no longer holds the claim",
        ),
        pytest.param(
            lambda op: users.update_user(op, "2", DISABLED),
            ("user", "disable", "--where-role", "admin"),
            1,
            id="is disabled already",
        ),
        pytest.param(
            lambda op: users.delete_user(op, "2"),
            ("user", "set-role", "member", "--where-role", "admin"),
            1,
            id="is gone",
        ),
        pytest.param(
            lambda op: grants.grant_claims(op, "2", ["write"]),
            ("user", "grant", "write", "--where-role", "admin"),
            1,
            id="was granted it",
        ),
    ],
)
def test_a_bulk_verb_changes_who_is_still_selected(
    url: str, first: Callable[[Operation], object], words: tuple[str, ...], changed: int
) -> None:
    for user in ("1", "2"):
        assert _run(url, "user", "grant", user, "read").exit_code == 0

    done = _race(url, first, *words, "-o", "json")

    assert (done.exit_code, done.stderr, done.json["changed"]) == (0, "", changed)
    assert broken_promises(url) == {}


def test_a_line_whose_user_is_deleted_meanwhile_is_told(url: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("a@example.com\nb@example.com\n")

    done = _race(
        *(url, lambda op: users.delete_user(op, "2")),
        *("user", "disable", "--from", str(tmp_path / "x.txt")),
    )

    assert (done.exit_code, done.stdout) == (3, "")
    assert 'line 2: no user "b@example.com"' in done.stderr
    assert broken_promises(url) == {}


def test_a_bulk_grant_of_a_claim_that_is_deleted_meanwhile(url: str) -> None:
    done = _race(
        *(url, lambda op: claims.delete_claim(op, "write")),
        *("user", "grant", "read", "write", "--where-role", "admin"),
    )

    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith('error: no claim "write"\n')
    assert broken_promises(url) == {}


def test_two_bulk_verbs_at_once_do_not_end_in_a_deadlock(url: str) -> None:
    with contextlib.ExitStack() as ended:
        lines = [("user", verb, "--where-role", "admin") for verb in ("disable", "enable")] * 3
        started = [ended.enter_context(_start(url, *line)) for line in lines]
        for process in started:
            assert process.communicate(timeout=60)[1] == ""
    assert {process.returncode for process in started} == {0}
    assert broken_promises(url) == {}
