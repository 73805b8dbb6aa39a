"""PostgreSQL servers that have no room, fail, forbid, hang up during a migration, or freeze."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url, text

from tests.support.commands import Result, process_environment, run_inside
from tests.support.consistency import broken_promises
from tests.support.databases import PostgresDatabases, open_database
from tests.support.proxy import Act, proxy
from usermgr.db import waiting

SECRET = "a-password-of-the-database"


def _run(url: str, *words: str) -> Result:
    return run_inside(words, "", {"USERMGR_DATABASE_URL": url})


def _execute(url: str, *statements: str) -> None:
    database = open_database(url)
    with database.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
        connection.commit()
    database.engine.dispose()


def _tcp(databases: PostgresDatabases, url: str) -> URL:
    return make_url(databases.server.tcp_url).set(database=make_url(url).database)


def _address(url: URL) -> tuple[str, int]:
    return url.host or "127.0.0.1", url.port or 5432


def _through(url: URL, port: int) -> str:
    plain = url.update_query_dict({"sslmode": "disable", "gssencmode": "disable"})
    return plain.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)


def _refused(message: str, hint: str) -> Result:
    return Result(5, "", f"error: {message}\nhint: {hint}\n")


@pytest.fixture
def humble_url(
    postgresql_databases: PostgresDatabases, migrated_postgresql_url: str
) -> Iterator[str]:
    """The database, as a user who may read and write the tables, and is nothing special."""
    role = f"usermgr_test_{secrets.token_hex(6)}"
    _execute(
        migrated_postgresql_url,
        f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    )
    url = _tcp(postgresql_databases, migrated_postgresql_url).set(username=role, password=SECRET)
    yield url.render_as_string(hide_password=False)
    _execute(migrated_postgresql_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_user_who_is_nothing_special_can_do_everything(humble_url: str):
    assert _run(humble_url, "config", "check").exit_code == 0
    assert _run(humble_url, "seed", "--users", "20", "-q").exit_code == 0
    assert _run(humble_url, "user", "update", "1", "--name", "New").exit_code == 0
    assert _run(humble_url, "user", "delete", "2", "--yes").exit_code == 0
    assert broken_promises(humble_url) == {}


def test_the_history_needs_to_be_added_to_and_read_only(
    humble_url: str, migrated_postgresql_url: str
):
    """Sealing and verifying too; only an erasure has to change something there."""
    tables = "operations, changes, seals, seal_blocks, sealed_operations"
    role = make_url(humble_url).username
    _execute(migrated_postgresql_url, f"REVOKE UPDATE, DELETE ON {tables} FROM {role}")
    for words in (
        ("seed", "--users", "3", "-q"),
        ("user", "update", "1", "--name", "New"),
        ("undo", "2"),
        ("audit", "seal"),
        ("audit", "verify"),
        ("audit", "export"),
    ):
        assert _run(humble_url, *words).exit_code == 0
    rows = _run(humble_url, "config", "check", "-o", "json").json
    assert (rows[-1]["ok"], rows[-1]["found"], rows[-1]["advice"]) == (
        True,
        "all that commands need, but for user erase",
        "GRANT UPDATE ON changes to whoever may erase",
    )

    done = _run(humble_url, "user", "erase", "1", "--yes")

    message = f'the database user may not use table changes: "{_described(humble_url)}"'
    assert done == _refused(message, "usermgr config check lists the missing privileges")
    assert _run(humble_url, "user", "show", "1").exit_code == 0


def test_a_server_without_a_connection_left(humble_url: str, migrated_postgresql_url: str):
    role = make_url(humble_url).username
    _execute(migrated_postgresql_url, f"ALTER ROLE {role} CONNECTION LIMIT 0")

    done = _run(humble_url, "role", "list")

    assert (done.exit_code, done.stdout) == (5, "")
    assert f"too many connections for role '{role}'" in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize(
    ("table", "words", "missing"),
    [
        ("roles", ("role", "create", "y"), "INSERT"),
        ("changes", ("role", "create", "y"), "INSERT"),
        ("operations", ("role", "create", "y"), "INSERT"),
        ("users", ("user", "update", "1", "--name", "New"), "UPDATE"),
        ("user_claims", ("user", "list"), "SELECT"),
    ],
)
def test_a_privilege_that_is_missing_is_named(
    humble_url: str, migrated_postgresql_url: str, table: str, words: tuple[str, ...], missing: str
):
    assert _run(humble_url, "seed", "--users", "3", "-q").exit_code == 0
    role = make_url(humble_url).username
    _execute(migrated_postgresql_url, f"REVOKE {missing} ON {table} FROM {role}")
    description = _described(humble_url)

    done = _run(humble_url, *words)

    message = f'the database user may not use table {table}: "{description}"'
    assert done == _refused(message, "usermgr config check lists the missing privileges")
    rows = _run(humble_url, "config", "check", "-o", "json").json
    assert (rows[-1]["check"], rows[-1]["found"]) == ("privileges", f"missing {missing} on {table}")
    assert broken_promises(migrated_postgresql_url) == {}


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        ("53100", "the database server's disk is full", "free space on the server"),
        ("53200", "the database server is out of memory", "try again later"),
        ("40001", "another command changed the same rows", "try again"),
        ("40P01", "another command wanted the same rows (deadlock)", "try again"),
        (
            "57P03",
            "the database server is starting up or shutting down",
            "try again in a moment",
        ),
    ],
)
def test_what_a_server_says_when_it_fails(
    migrated_postgresql_url: str, code: str, message: str, hint: str
):
    """A trigger raises what the server itself would raise in the middle of the operation."""
    _execute(
        migrated_postgresql_url,
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END$$",
        "CREATE TRIGGER fail BEFORE INSERT ON changes EXECUTE FUNCTION fail()",
    )

    done = _run(migrated_postgresql_url, "role", "create", "x")

    assert done == _refused(f'{message}: "{_described(migrated_postgresql_url)}"', hint)
    assert _run(migrated_postgresql_url, "role", "list", "-o", "json").stdout == "[]\n"


def test_an_option_that_libpq_does_not_know(postgresql_url: str):
    done = _run(f"{postgresql_url}&colour=red", "role", "list")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "invalid connection option 'colour'" in done.stderr


@pytest.mark.parametrize(("act", "state"), [("cut before", "missing"), ("cut after", "current")])
def test_a_connection_that_is_lost_while_a_schema_is_committed(
    postgresql_databases: PostgresDatabases, postgresql_url: str, act: Act, state: str
):
    url = _tcp(postgresql_databases, postgresql_url)
    # The zero byte ends the statement: the one that begins the transaction says COMMITTED.
    with proxy(_address(url), b"COMMIT\0", act) as between:
        done = _run(_through(url, between.port), "schema", "init")

    assert (done.exit_code, done.stdout) == (5, "")
    assert "it is unknown whether the change was stored" in done.stderr
    assert done.stderr.endswith("hint: look at it with: usermgr schema status\n")
    assert _run(postgresql_url, "schema", "status", "-o", "json").json["state"] == state
    assert _run(postgresql_url, "schema", "init").exit_code == 0


def test_an_interrupt_while_the_server_is_frozen(
    postgresql_databases: PostgresDatabases, migrated_postgresql_url: str
):
    url = _tcp(postgresql_databases, migrated_postgresql_url)

    done = _interrupted(url, b"INSERT INTO roles", "silence")

    assert done == Result(130, "", "error: interrupted; what was not committed is undone\n")
    assert _run(migrated_postgresql_url, "role", "list", "-o", "json").stdout == "[]\n"


@pytest.mark.parametrize(("act", "stored"), [("silence", 0), ("silence after", 1)])
def test_an_interrupt_during_the_commit(
    postgresql_databases: PostgresDatabases, migrated_postgresql_url: str, act: Act, stored: int
):
    url = _tcp(postgresql_databases, migrated_postgresql_url)

    done = _interrupted(url, b"COMMIT\0", act)

    assert (done.exit_code, done.stdout) == (5, "")
    message, hint = done.stderr.splitlines()
    assert message.endswith("was interrupted: it is unknown whether the change was stored")
    look = hint.removeprefix("hint: look for it with: usermgr ").split()
    assert _run(migrated_postgresql_url, *look).exit_code == (0 if stored else 3)
    assert len(_run(migrated_postgresql_url, "role", "list", "-o", "json").json) == stored


IMPORT = ("user", "import", "x.csv", "--create-roles")


@pytest.mark.parametrize("trigger", [b"COPY users", b"Person 1999"])
def test_an_import_meets_a_server_that_falls_silent(
    postgresql_databases: PostgresDatabases,
    migrated_postgresql_url: str,
    trigger: bytes,
    monkeypatch: pytest.MonkeyPatch,
):
    """The statement or the rows are taken by the network, and no answer ever comes."""
    people = (f"Person {n},p{n}@example.com,member\n" for n in range(2_000))
    Path("x.csv").write_text("name,email,role\n" + "".join(people))
    url = _tcp(postgresql_databases, migrated_postgresql_url)

    interrupted = _interrupted(url, trigger, "silence", IMPORT)
    with proxy(_address(url), trigger, "silence") as between:
        monkeypatch.setattr(waiting, "GRACE_SECONDS", 0.5)
        target = _through(url, between.port)
        env = {"USERMGR_DATABASE_URL": target, "USERMGR_STATEMENT_TIMEOUT": "1"}
        began = time.monotonic()
        done = run_inside(IMPORT, "", env)

    assert (interrupted.exit_code, interrupted.stdout) == (130, "")
    assert interrupted.stderr == "error: interrupted; what was not committed is undone\n"
    assert (done.exit_code, done.stdout) == (5, "")
    assert "the connection to the database was lost" in done.stderr
    assert time.monotonic() - began < 10
    assert _run(migrated_postgresql_url, "user", "list", "-o", "json").stdout == "[]\n"


def _interrupted(
    url: URL, trigger: bytes, act: Act, words: tuple[str, ...] = ("role", "create", "x")
) -> Result:
    """The end of a command that is interrupted when the server has fallen silent."""
    with proxy(_address(url), trigger, act) as between:
        process = subprocess.Popen(
            [sys.executable, "-m", "usermgr", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**process_environment(), "USERMGR_DATABASE_URL": _through(url, between.port)},
        )
        assert between.fell_silent.wait(60)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    return Result(process.returncode, stdout, stderr)


def _described(url: str) -> str:
    return open_database(url).description
