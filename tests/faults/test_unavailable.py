"""A database that is down, refuses, disappears, is locked, full or silent: exit 5, one line."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import event, make_url, text

from tests.support.commands import Command, Result, process_environment, run_inside, run_process
from tests.support.consistency import broken_promises
from tests.support.databases import PostgresDatabases, open_database
from tests.support.people import create_company
from tests.support.postgres import with_database
from tests.support.proxy import Act, proxy
from usermgr.db.engine import Database
from usermgr.errors import Unavailable
from usermgr.services.roles import create_role
from usermgr.urls import sqlite_path

MARKER = "hunter2-secret"


def _assert_unavailable(done: Result, *, says: str) -> None:
    assert (done.exit_code, done.stdout) == (5, ""), done
    assert says in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert MARKER not in done.stderr


def _tcp_url(databases: PostgresDatabases, url: str) -> str:
    return with_database(databases.server.tcp_url, str(make_url(url).database))


def _run(url: str, *words: str, **settings: str) -> Result:
    return run_inside(
        words or ("role", "create", "x"), "", {"USERMGR_DATABASE_URL": url, **settings}
    )


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_server_that_is_down() -> None:
    url = f"postgresql://someone:{MARKER}@127.0.0.1:{_closed_port()}/app"
    for words in (
        ("user", "list"),
        ("role", "create", "x"),
        ("schema", "init"),
        ("schema", "status"),
    ):
        _assert_unavailable(_run(url, *words), says="Connection refused")
    json = _run(url, "user", "list", "-o", "json")
    assert (json.exit_code, MARKER in json.stderr) == (5, False)
    debug = _run(url, "user", "list", "--debug")
    assert (debug.exit_code, MARKER in debug.stderr) == (5, False)


def test_a_host_that_does_not_exist() -> None:
    url = f"postgresql://someone:{MARKER}@nowhere.invalid/app"
    _assert_unavailable(_run(url), says='cannot connect to "postgresql://nowhere.invalid/app": ')


def test_a_password_that_is_refused(
    postgresql_databases: PostgresDatabases, postgresql_url: str
) -> None:
    url = make_url(_tcp_url(postgresql_databases, postgresql_url)).set(password=MARKER)
    done = _run(url.render_as_string(hide_password=False))
    _assert_unavailable(done, says="password authentication failed for user")


def test_a_database_that_does_not_exist(postgresql_databases: PostgresDatabases) -> None:
    done = _run(postgresql_databases.server.database("no such database"))
    _assert_unavailable(done, says="does not exist")


@pytest.mark.parametrize("host", ["127.0.0.1"])
def test_a_server_that_accepts_and_says_nothing(host: str) -> None:
    with socket.create_server((host, 0)) as listener:
        url = f"postgresql://someone:{MARKER}@{host}:{listener.getsockname()[1]}/app"
        done = _run(url, USERMGR_CONNECT_TIMEOUT="2")
    _assert_unavailable(done, says="the server did not answer in time")


def test_a_connection_is_waited_for_without_a_limit(
    postgresql_databases: PostgresDatabases, migrated_postgresql_url: str
) -> None:
    url = _tcp_url(postgresql_databases, migrated_postgresql_url)
    done = _run(url, "role", "list", USERMGR_CONNECT_TIMEOUT="0")
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_connection_that_is_ended_in_the_middle(
    migrated_postgresql_url: str, tmp_path: Path
) -> None:
    database = open_database(migrated_postgresql_url)
    with database.connect() as connection:
        connection.execute(text("LOCK TABLE changes IN SHARE MODE"))
        process = subprocess.Popen(
            [sys.executable, "-m", "usermgr", "role", "create", "x"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**process_environment(), "USERMGR_DATABASE_URL": migrated_postgresql_url},
            cwd=tmp_path,
        )
        terminate = text(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database"
            " WHERE d.datname = current_database() AND NOT granted"
        )
        while not connection.execute(terminate).all():
            assert process.poll() is None
        stdout, stderr = process.communicate(timeout=60)
    done = Result(process.returncode, stdout, stderr)
    _assert_unavailable(done, says="the connection to the database was lost: ")
    assert _run(migrated_postgresql_url, "role", "list", "-o", "json").json == []


@pytest.mark.parametrize(("act", "stored"), [("cut before", 0), ("cut after", 1)])
def test_a_connection_that_is_lost_during_the_commit(
    postgresql_databases: PostgresDatabases, migrated_postgresql_url: str, act: Act, stored: int
) -> None:
    url = make_url(_tcp_url(postgresql_databases, migrated_postgresql_url))
    assert url.host is not None
    assert url.port is not None
    with proxy((url.host, url.port), b"COMMIT\0", act) as between:
        through = url.set(host="127.0.0.1", port=between.port)
        through = through.update_query_dict({"sslmode": "disable", "gssencmode": "disable"})
        done = _run(through.render_as_string(hide_password=False))
    _assert_unavailable(done, says="it is unknown whether the change was stored")
    operation = done.stderr.rpartition("usermgr operation show ")[2].strip()
    shown = _run(migrated_postgresql_url, "operation", "show", operation)
    assert shown.exit_code == (0 if stored else 3)
    roles = _run(migrated_postgresql_url, "role", "list", "-o", "json").json
    assert len(roles) == stored


def test_an_interrupt_during_the_commit(database: Database) -> None:
    """On either database nobody knows then whether the commit was done."""

    @event.listens_for(database.engine, "commit")
    def interrupt(_connection: object) -> None:
        raise KeyboardInterrupt

    unknown = "was interrupted: it is unknown whether the change was stored"
    with pytest.raises(Unavailable, match=unknown) as told, database.operation("a", "b") as op:
        create_role(op, "x")

    assert told.value.hint == f"look for it with: usermgr operation show {op.id}"


@pytest.mark.parametrize("trigger", [b"INSERT INTO roles", b"COMMIT\0"])
def test_a_server_that_falls_silent(
    postgresql_databases: PostgresDatabases,
    migrated_postgresql_url: str,
    trigger: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from usermgr.db import waiting

    monkeypatch.setattr(waiting, "GRACE_SECONDS", 0.5)
    url = make_url(_tcp_url(postgresql_databases, migrated_postgresql_url))
    assert url.host is not None
    assert url.port is not None
    with proxy((url.host, url.port), trigger, "silence") as between:
        through = url.set(host="127.0.0.1", port=between.port)
        through = through.update_query_dict({"sslmode": "disable", "gssencmode": "disable"})
        target = through.render_as_string(hide_password=False)
        done = _run(target, USERMGR_STATEMENT_TIMEOUT="1")
    unknown = (
        "it is unknown whether" if trigger == b"COMMIT\0" else "the connection to the database"
    )
    _assert_unavailable(done, says=unknown)


def test_a_lock_that_is_held(cli: Command, database_url: str) -> None:
    create_company(cli)
    database = open_database(database_url)
    with database.connect() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT * FROM users FOR UPDATE"))
        done = cli("user", "disable", "1", env={"USERMGR_LOCK_TIMEOUT": "0.2"})
        assert cli("user", "show", "1").exit_code == 0
    _assert_unavailable(done, says="the database is locked by another command")
    assert cli("user", "show", "1", "-o", "json").json["active"] is True
    assert broken_promises(database_url) == {}


def test_a_lock_is_waited_for_without_a_limit(cli: Command, database_url: str) -> None:
    create_company(cli)
    database = open_database(database_url)
    env = {"USERMGR_DATABASE_URL": database_url, "USERMGR_LOCK_TIMEOUT": "0"}
    with database.connect() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT * FROM users FOR UPDATE"))
        process = subprocess.Popen(
            [sys.executable, "-m", "usermgr", "user", "disable", "1", "--fields", "active"],
            env={**process_environment(), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
    assert process.communicate(timeout=60) == ("active\nfalse\n", "")
    assert process.returncode == 0


def test_a_statement_that_takes_too_long(migrated_postgresql_url: str) -> None:
    with open_database(migrated_postgresql_url).connect() as connection:
        connection.execute(text("LOCK TABLE roles"))
        settings = {"USERMGR_STATEMENT_TIMEOUT": "0.2", "USERMGR_LOCK_TIMEOUT": "0"}
        done = _run(migrated_postgresql_url, "role", "list", **settings)
    _assert_unavailable(done, says="a statement took longer than allowed")


def test_a_read_only_postgresql(migrated_postgresql_url: str) -> None:
    name = make_url(migrated_postgresql_url).database
    with open_database(migrated_postgresql_url).connect() as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
        connection.commit()
    _assert_unavailable(_run(migrated_postgresql_url), says="the database is read-only")
    checked = _run(migrated_postgresql_url, "config", "check", "-o", "json")
    assert checked.exit_code == 5
    assert [row["check"] for row in checked.json if not row["ok"]] == ["writing"]
    assert _run(migrated_postgresql_url, "role", "list").exit_code == 0


def test_privileges_that_are_missing(
    postgresql_databases: PostgresDatabases, migrated_postgresql_url: str
) -> None:
    role = f"usermgr_test_{Path(str(make_url(migrated_postgresql_url).database)).name[-6:]}"
    with open_database(migrated_postgresql_url).connect() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
        connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"))
        connection.commit()
    try:
        url = make_url(migrated_postgresql_url).set(username=role).render_as_string()
        _assert_unavailable(_run(url), says="the database user may not use table roles")
        checked = _run(url, "config", "check", "-o", "json")
        assert checked.exit_code == 5
        assert "INSERT on users" in checked.json[-1]["found"]
        with open_database(migrated_postgresql_url).connect() as connection:
            connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"))
            connection.execute(
                text(f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {role}, public")
            )
            connection.commit()
        checked = _run(url, "config", "check", "-o", "json")
        found = "missing USAGE on the sequence operations_id_seq"
        assert (checked.exit_code, checked.json[-1]["found"]) == (5, found)
        with open_database(migrated_postgresql_url).connect() as connection:
            name = make_url(migrated_postgresql_url).database
            connection.execute(text(f'REVOKE TEMPORARY ON DATABASE "{name}" FROM public'))
            connection.execute(text(f"REVOKE ALL ON usermgr_version FROM {role}"))
            connection.commit()
        checked = _run(url, "config", "check", "-o", "json")
        assert checked.exit_code == 5
        assert checked.json[-1]["found"] == "no privilege to read the table usermgr_version"
        assert "GRANT SELECT ON usermgr_version" in checked.stderr
        with open_database(migrated_postgresql_url).connect() as connection:
            connection.execute(text(f"GRANT SELECT ON usermgr_version TO {role}"))
            connection.execute(text("REVOKE USAGE ON SCHEMA public FROM public"))
            connection.commit()
        checked = _run(url, "config", "check", "-o", "json")
        advice = [row["advice"] for row in checked.json if row["check"] == "namespace"]
        assert advice == ['GRANT USAGE ON SCHEMA "public" to the database user']
        with open_database(migrated_postgresql_url).connect() as connection:
            connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {role}"))
            connection.commit()
        found = _run(url, "config", "check", "-o", "json").json[-1]["found"]
        assert "TEMPORARY on the database" in found
    finally:
        with open_database(migrated_postgresql_url).connect() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))
            connection.commit()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"this is no database, it is a text" * 40, "the file is not a SQLite database"),
        (None, "the database file cannot be opened"),
    ],
)
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "odd.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    _assert_unavailable(_run(f"sqlite:///{path}"), says=says)
    assert path.is_dir() or path.read_bytes() == content


def test_a_damaged_file(migrated_sqlite_url: str) -> None:
    path = sqlite_path(migrated_sqlite_url)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    _assert_unavailable(_run(migrated_sqlite_url), says="the database file is damaged")


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none/x.db"
    done = _run(url, "schema", "init")
    _assert_unavailable(done, says="cannot be created: No such file or directory")


@pytest.mark.parametrize("number", ["2000", "20000"])
def test_a_full_disk(migrated_sqlite_url: str, tmp_path: Path, number: str) -> None:
    """A limit on the size of files stands in for the disk: SQLite meets the same failed write."""
    size = sqlite_path(migrated_sqlite_url).stat().st_size

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, size + 20_000))

    done = subprocess.run(
        [sys.executable, "-m", "usermgr", "seed", "--users", number],
        preexec_fn=limit,
        capture_output=True,
        env={**process_environment(), "USERMGR_DATABASE_URL": migrated_sqlite_url},
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
    _assert_unavailable(result, says="disk")
    assert _run(migrated_sqlite_url, "user", "list", "-o", "json").json == []
    assert broken_promises(migrated_sqlite_url) == {}


@pytest.mark.parametrize(
    "env", [{"LANG": "C", "LC_ALL": "C"}, {"TERM": "dumb"}, {"COLUMNS": "20"}, {"NO_COLOR": "1"}]
)
def test_output_does_not_depend_on_the_environment(
    migrated_sqlite_url: str, tmp_path: Path, env: Mapping[str, str]
) -> None:
    settings = {"USERMGR_DATABASE_URL": migrated_sqlite_url, **env}
    done = run_process(("role", "create", "Ação 🙂"), "", settings, tmp_path)
    expected = "id\tdescription\tprotected\tusers\n1\tAção 🙂\tfalse\t0\n"
    assert (done.exit_code, done.stdout, done.stderr) == (0, expected, "")
