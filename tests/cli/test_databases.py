"""Which database is used, made, refused: the embedded default, missing and old schemas, checks."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.commands import Command, run_inside, run_process
from tests.support.databases import PostgresDatabases, open_database
from usermgr.db.models import HEAD_REVISION

NOTE = (
    "note: created sqlite:///usermgr.db in the working directory; "
    "set USERMGR_DATABASE_URL to use another database\n"
)


def test_the_embedded_default_is_made_at_first_use_and_says_so_once(tmp_path: Path) -> None:
    first = run_process(("role", "create", "admin"), "", {}, tmp_path)
    assert (first.exit_code, first.stderr) == (0, NOTE)
    assert first.stdout == "id\tdescription\tprotected\tusers\n1\tadmin\tfalse\t0\n"
    assert (tmp_path / "usermgr.db").exists()
    second = run_process(("role", "list"), "", {}, tmp_path)
    assert (second.exit_code, second.stderr, second.stdout) == (0, "", first.stdout)


@pytest.mark.parametrize(
    "words", [("schema", "status"), ("config", "check"), ("config", "show"), ("help", "settings")]
)
def test_looking_makes_no_database(tmp_path: Path, words: tuple[str, ...]) -> None:
    run_inside(words, "", {})
    assert list(tmp_path.iterdir()) == []


def test_a_sqlite_file_that_was_named_is_not_made_by_itself(tmp_path: Path) -> None:
    done = run_inside(("user", "list"), "", {"USERMGR_DATABASE_URL": "sqlite:///typo.db"})
    assert (done.exit_code, done.stdout) == (5, "")
    assert done.stderr == (
        'error: the database "sqlite:///typo.db" has no usermgr schema '
        f"(revision none, this program needs {HEAD_REVISION})\n"
        "hint: create it with: usermgr schema init\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["a%20b#c.db", "a%2Fb.db", "./:memory:", "a@b:c.db", "ã b.db", "file:x.db"]
)
def test_a_sqlite_file_is_the_one_that_is_written(tmp_path: Path, name: str) -> None:
    env = {"USERMGR_DATABASE_URL": f"sqlite:///{name}"}
    for words in (("schema", "init"), ("role", "create", "x"), ("schema", "check")):
        assert run_inside(words, "", env).exit_code == 0

    (file,) = tmp_path.iterdir()
    assert file == tmp_path / name
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("words", [("user", "list"), ("role", "create", "x"), ("seed",)])
def test_a_missing_schema(empty_database_url: str, words: tuple[str, ...]) -> None:
    done = run_inside(words, "", {"USERMGR_DATABASE_URL": empty_database_url})
    assert (done.exit_code, done.stdout) == (5, "")
    assert f"(revision none, this program needs {HEAD_REVISION})\n" in done.stderr
    assert done.stderr.endswith("hint: create it with: usermgr schema init\n")


@pytest.mark.parametrize("words", [("user", "list"), ("role", "create", "x"), ("seed",)])
def test_an_old_schema(cli: Command, words: tuple[str, ...]) -> None:
    assert cli("schema", "downgrade", "0002", "--yes", "-q").exit_code == 0
    done = cli(*words)
    assert (done.exit_code, done.stdout) == (5, "")
    assert f"is at revision 0002, this program needs {HEAD_REVISION}\n" in done.stderr
    assert done.stderr.endswith("hint: bring it up with: usermgr schema upgrade\n")
    assert cli("schema", "status").exit_code == 5
    assert cli("schema", "upgrade", "-q").exit_code == 0
    assert cli("schema", "status").exit_code == 0
    assert cli(*words).exit_code == 0


def test_what_ci_runs_may_be_repeated_and_is_silent(empty_database_url: str) -> None:
    env = {"USERMGR_DATABASE_URL": empty_database_url}
    for _ in range(2):
        for words in (("schema", "init", "-q"), ("seed", "--users", "20", "-q")):
            done = run_inside(words, "", env)
            assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert len(run_inside(("user", "list", "-o", "json"), "", env).json) == 20


def test_a_downgrade_asks(cli: Command) -> None:
    done = cli("schema", "downgrade", "base")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith("hint: pass --yes to confirm\n")
    assert cli("schema", "status").exit_code == 0


def test_the_schema_check_finds_nothing_on_a_fresh_schema(cli: Command) -> None:
    done = cli("schema", "check", "-o", "json")
    assert (done.exit_code, done.json) == (0, [])
    assert done.stderr.startswith("note: the schema of ")


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
def test_ddl_is_a_script_with_every_table(dialect: str) -> None:
    done = run_inside(("schema", "ddl", "--dialect", dialect), "", {})
    assert (done.exit_code, done.stderr) == (0, "")
    for table in ("roles", "claims", "users", "user_claims", "operations", "changes"):
        assert f"CREATE TABLE {table}" in done.stdout.replace('"', "")
    assert HEAD_REVISION in done.stdout


def test_config_show_masks_passwords_and_names_sources(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("USERMGR_DB_SCHEMA=app\n")
    env = {"USERMGR_DATABASE_URL": "postgresql://u:hunter2@h/d?password=hunter3"}
    done = run_inside(("config", "show", "--fields", "setting,value,source"), "", env)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.rows[1:3] == [
        [
            "database_url",
            "postgresql+psycopg2://u:***@h/d?password=***",
            "environment USERMGR_DATABASE_URL",
        ],
        ["db_schema", "app", ".env USERMGR_DB_SCHEMA"],
    ]
    assert "hunter" not in done.stdout


def test_config_show_as_a_table_leaves_the_meanings_to_help() -> None:
    done = run_inside(("config", "show", "-o", "table"), "", {})
    lines = [line.split() for line in done.stdout.splitlines()]
    assert (done.exit_code, done.stderr) == (0, "")
    assert lines[0] == ["setting", "value", "source"]
    assert ["lock_timeout", "10", "default"] in lines


def test_config_check_on_a_good_database(cli: Command) -> None:
    done = cli("config", "check", "-o", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert {row["ok"] for row in done.json} == {True}
    assert {"connection", "version", "schema", "privileges"} <= {r["check"] for r in done.json}


def test_config_check_warns_of_letters_whose_case_is_unknown(
    postgresql_databases: PostgresDatabases,
) -> None:
    admin = open_database(postgresql_databases.server.url)
    name = f"usermgr_test_{secrets.token_hex(6)}"
    with admin.connect() as connection:
        outside = connection.execution_options(isolation_level="AUTOCOMMIT")
        locale = "LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'UTF8'"
        outside.execute(text(f"CREATE DATABASE {name} TEMPLATE template0 {locale}"))
        try:
            env = {"USERMGR_DATABASE_URL": postgresql_databases.server.database(name)}
            assert run_inside(("schema", "init", "-q"), "", env).exit_code == 0
            done = run_inside(("config", "check", "-o", "json"), "", env)
        finally:
            outside.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    assert (done.exit_code, done.stderr) == (0, "")
    assert [row for row in done.json if row["advice"]] == [
        {
            "check": "encoding",
            "ok": True,
            "found": "UTF8, but lc_ctype knows the case of ASCII letters only",
            "advice": "role and claim names that differ in the case of other letters are not "
            "recognised as one; create the database with LC_CTYPE 'C.UTF-8', or that of a language",
        }
    ]


def test_config_check_says_what_to_do(empty_database_url: str) -> None:
    env = {"USERMGR_DATABASE_URL": empty_database_url}
    done = run_inside(("config", "check", "-o", "json"), "", env)
    assert done.exit_code == 5
    assert [row["advice"] for row in done.json if not row["ok"]] == [
        "create it with: usermgr schema init"
    ]


def test_a_postgresql_schema_of_its_own(postgresql_url: str) -> None:
    env = {"USERMGR_DATABASE_URL": postgresql_url, "USERMGR_DB_SCHEMA": "app"}
    missing = run_inside(("schema", "init"), "", env)
    assert (missing.exit_code, missing.stdout) == (5, "")
    assert missing.stderr.startswith('error: there is no schema "app" in ')
    assert missing.stderr.endswith("hint: create it with: usermgr schema init --create-schema\n")
    assert run_inside(("schema", "init", "--create-schema", "-q"), "", env).exit_code == 0
    assert run_inside(("seed", "--users", "3", "-q"), "", env).exit_code == 0
    assert len(run_inside(("user", "list", "-o", "json"), "", env).json) == 3
    outside = run_inside(("user", "list"), "", {"USERMGR_DATABASE_URL": postgresql_url})
    assert outside.exit_code == 5
    assert "revision none" in outside.stderr


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Sao_Paulo"])
def test_the_server_s_time_zone_does_not_matter(migrated_postgresql_url: str, zone: str) -> None:
    """Nor at the ends of the years, which are beyond those that Python knows east or west."""
    database = open_database(migrated_postgresql_url)
    with database.connect() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f"ALTER DATABASE \"{name}\" SET TimeZone = '{zone}'"))
        connection.commit()
    database.engine.dispose()
    environment = {"USERMGR_DATABASE_URL": migrated_postgresql_url}
    instants = [
        "0001-01-01T00:00:00.000000Z",
        "1899-12-31T23:00:00.000001Z",
        "9999-12-31T23:59:59.999999Z",
    ]
    people = "name,email,role,created_at\n"
    people += "".join(f"N,p{n}@example.com,member,{at}\n" for n, at in enumerate(instants))
    made = run_inside(("user", "import", "-", "--create-roles"), people, environment)
    assert made.exit_code == 0
    listed = run_inside(("user", "list", "-o", "json"), "", environment)
    assert [user["created_at"] for user in listed.json] == instants
    for user in listed.json:
        done = run_inside(("user", "disable", str(user["id"]), "-o", "json"), "", environment)
        assert done.json["created_at"] == user["created_at"]
