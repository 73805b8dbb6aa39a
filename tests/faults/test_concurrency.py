"""Many processes at once: exactly one wins, and the history agrees with the rows."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.commands import Command, Result, process_environment, run_inside
from tests.support.consistency import broken_promises
from tests.support.databases import open_database
from tests.support.people import create_company

# The program, loaded once, and forked for every line: each is a process of its own, but does not
# spend half a second on starting. The end of the pipe lets all of them go at one moment.
_TOGETHER = """
import json, os, sys
import argon2, email_validator, psycopg2, sqlalchemy.dialects.postgresql, sqlalchemy.dialects.sqlite
import usermgr.cli.claim, usermgr.cli.role, usermgr.cli.user, usermgr.services.history
from usermgr.cli.app import main
lines, (waiting, going) = json.load(sys.stdin), os.pipe()
children = []
for number, line in enumerate(lines):
    child = os.fork()
    if not child:
        os.close(going)
        for stream, (name, mode) in enumerate([(os.devnull, 0), ("out", 65), ("err", 65)]):
            os.dup2(os.open(name if not mode else f"{sys.argv[1]}/{number}.{name}", mode), stream)
        os.read(waiting, 1)
        sys.argv[1:] = line
        main()
    children.append(child)
os.close(going)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""


def run_together(lines: Sequence[Sequence[str]], env: dict[str, str], cwd: Path) -> list[Result]:
    """Run all the command lines, which begin at one moment, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _TOGETHER, folder],
            input=json.dumps(lines),
            capture_output=True,
            env={**process_environment(), **env},
            cwd=cwd,
            text=True,
            timeout=120,
            check=True,
        )
        return [
            Result(
                status, *(Path(f"{folder}/{number}.{end}").read_text() for end in ("out", "err"))
            )
            for number, status in enumerate(json.loads(done.stdout))
        ]


def test_sixteen_create_one_user(cli: Command, database_url: str, tmp_path: Path) -> None:
    cli("role", "create", "member")
    spellings = ["ana@example.com", "ANA@example.com", "Ana@Example.COM", "anA@EXAMPLE.com"] * 4
    lines = [
        ("user", "create", "--name", f"N{i}", "--email", e, "--role", "member", "--no-password")
        for i, e in enumerate(spellings)
    ]
    results = run_together(lines, {"USERMGR_DATABASE_URL": database_url}, tmp_path)
    assert Counter(result.exit_code for result in results) == {0: 1, 4: 15}
    for result in results:
        if result.exit_code == 4:
            assert result.stdout == ""
            message = 'error: the e-mail "ana@example.com" is taken\nhint: '
            assert result.stderr.startswith(message)
    (user,) = cli("user", "list", "-o", "json").json
    assert user["email"] == "ana@example.com"
    assert len(cli("user", "history", "ana@example.com", "-o", "json").json) == 1
    assert len(cli("operation", "list", "-o", "json").json) == 2
    assert broken_promises(database_url) == {}


def test_sixteen_first_uses_of_the_embedded_default(tmp_path: Path) -> None:
    lines = [("role", "create", f"role {i}") for i in range(16)]
    results = run_together(lines, {}, tmp_path)
    assert [result.exit_code for result in results] == [0] * 16, results
    assert sum("note: created" in result.stderr for result in results) == 1
    listed = run_together([("role", "list", "-o", "jsonl")], {}, tmp_path)[0]
    assert listed.stdout.count("\n") == 16
    assert broken_promises(f"sqlite:///{tmp_path / 'usermgr.db'}") == {}


def test_changes_of_one_user_do_not_overwrite_each_other(
    cli: Command, database_url: str, tmp_path: Path
) -> None:
    create_company(cli)
    for i in range(6):
        cli("claim", "create", f"claim {i}")
    lines: list[Sequence[str]] = [("user", "grant", "2", f"claim {i}") for i in range(6)]
    lines += [("user", "disable", "2"), ("user", "update", "2", "--name", "B. Lima")]
    results = run_together(lines, {"USERMGR_DATABASE_URL": database_url}, tmp_path)
    assert [result.exit_code for result in results] == [0] * 8, results
    user = cli("user", "show", "2", "-o", "json").json
    assert (user["name"], user["active"], user["version"]) == ("B. Lima", False, 9)
    assert user["claims"] == [f"claim {i}" for i in range(6)]
    history = cli("user", "history", "2", "-o", "json").json
    assert [change["after"]["version"] for change in history] == list(range(1, 10))
    for earlier, later in itertools.pairwise(history):
        assert later["before"] == earlier["after"]
    assert broken_promises(database_url) == {}


@pytest.mark.parametrize("name", ["admin", "Ação"])
def test_one_role_name_in_two_cases(
    cli: Command, database_url: str, tmp_path: Path, name: str
) -> None:
    lines = [("role", "create", spelling) for spelling in [name, name.upper()] * 4]
    results = run_together(lines, {"USERMGR_DATABASE_URL": database_url}, tmp_path)
    assert Counter(result.exit_code for result in results) == {0: 1, 4: 7}
    assert len(cli("role", "list", "-o", "json").json) == 1
    assert broken_promises(database_url) == {}


def test_a_role_is_deleted_or_used_never_both(
    cli: Command, database_url: str, tmp_path: Path
) -> None:
    cli("role", "create", "temp")
    lines: list[Sequence[str]] = [("role", "delete", "temp")]
    lines += [
        *(
            ("user", "create", "--name", "N", "--email", f"u{i}@example.com", "--role", "temp")
            for i in range(5)
        ),
    ]
    results = run_together(lines, {"USERMGR_DATABASE_URL": database_url}, tmp_path)
    deleted, *created = [result.exit_code for result in results]
    users = len(cli("user", "list", "-o", "json").json)
    assert deleted in (0, 4)
    assert set(created) <= {0, 3}, results
    assert users == created.count(0)
    assert (deleted == 0) == (users == 0)
    assert broken_promises(database_url) == {}


def test_seeds_at_once(cli: Command, database_url: str, tmp_path: Path) -> None:
    lines = [("seed", "--users", "800", "-q")] * 5
    results = run_together(lines, {"USERMGR_DATABASE_URL": database_url}, tmp_path)
    assert {result.exit_code for result in results} == {0}, results
    assert cli("seed", "--users", "800", "-q").exit_code == 0
    assert len(cli("user", "list", "--all", "-o", "json").json) == 800
    assert broken_promises(database_url) == {}


def test_a_seed_does_not_wait_for_whoever_creates_a_role(migrated_postgresql_url: str) -> None:
    """Who creates a role first and users then would wait for the seed, and be waited for."""
    with open_database(migrated_postgresql_url).connect() as other:
        other.execute(text("INSERT INTO roles (description) VALUES ('other')"))

        settings = {"USERMGR_DATABASE_URL": migrated_postgresql_url, "USERMGR_LOCK_TIMEOUT": "1"}
        done = run_inside(("seed", "--users", "20", "-o", "json"), "", settings)

        assert (done.exit_code, done.json["users_created"]) == (0, 20)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_another_isolation_of_the_server_ends_no_command(
    migrated_postgresql_url: str, isolation: str
) -> None:
    """What somebody else changes meanwhile is waited for and seen."""
    env = {"USERMGR_DATABASE_URL": migrated_postgresql_url}
    assert run_inside(("seed", "--users", "1"), "", env).exit_code == 0
    database = open_database(migrated_postgresql_url)
    default = f"SET default_transaction_isolation = '{isolation}'"
    with database.connect() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f'ALTER DATABASE "{name}" {default}'))
        connection.commit()
    rename = text("UPDATE users SET name = name || 'x'")
    with database.operation("test", "tester") as op:
        with database.connect() as other:
            other.execute(rename)
            other.commit()
        op.connection.execute(rename)
    with database.read() as connection:
        assert connection.execute(text("SELECT name FROM users")).scalar_one().endswith("xx")
    database.engine.dispose()


def test_delete_against_update(cli: Command, database_url: str, tmp_path: Path) -> None:
    create_company(cli)
    lines = [("user", "delete", "2", "--yes"), ("user", "update", "2", "--name", "X")] * 3
    results = run_together(lines, {"USERMGR_DATABASE_URL": database_url}, tmp_path)
    assert Counter(result.exit_code for result in results[::2]) == {0: 1, 3: 2}
    assert {result.exit_code for result in results[1::2]} <= {0, 3}
    assert cli("user", "history", "2", "-o", "json").json[-1]["action"] == "delete"
    assert broken_promises(database_url) == {}
