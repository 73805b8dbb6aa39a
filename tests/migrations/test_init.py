"""``schema init`` and ``status``: what they do with an empty, a full, a foreign database."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.migrations.challenge import execute, image, make_challenge, rows
from tests.support.commands import process_environment
from tests.support.databases import CollectStatements, open_database
from usermgr.config import Settings
from usermgr.db import schema
from usermgr.db.engine import Database
from usermgr.errors import Conflict, Unavailable
from usermgr.records import SchemaReport, SchemaStatus

ALL = ("0001", "0002", "0003", "0004", "0005")


def test_init_creates_once_and_leaves_alone_after_that(empty_database: Database):
    name = empty_database.description
    assert schema.status(empty_database) == SchemaStatus(name, "missing", None, "0005", ALL)
    assert schema.init(empty_database) == SchemaReport(
        name, "created", None, "0005", ("created 14 tables",)
    )
    assert schema.status(empty_database) == SchemaStatus(name, "current", "0005", "0005", ())
    before = image(empty_database)
    assert schema.init(empty_database) == SchemaReport(name, "unchanged", "0005", "0005", ())
    assert image(empty_database) == before


def test_status_knows_where_a_schema_stands(empty_database: Database):
    name = empty_database.description
    make_challenge(empty_database)
    assert schema.status(empty_database) == SchemaStatus(name, "unmanaged", None, "0005", ALL)
    schema.init(empty_database)
    schema.downgrade(empty_database, "0001")
    assert schema.status(empty_database) == SchemaStatus(name, "behind", "0001", "0005", ALL[1:])
    execute(empty_database, "UPDATE usermgr_version SET version_num = '0009'")
    assert schema.status(empty_database) == SchemaStatus(name, "ahead", "0009", "0005", ())


def test_init_upgrades_an_older_schema(database: Database):
    schema.downgrade(database, "0001")
    assert schema.init(database) == SchemaReport(
        database.description,
        "upgraded",
        "0001",
        "0005",
        (
            "applied 0002_integrity",
            "applied 0003_history",
            "applied 0004_trust",
            "applied 0005_http",
        ),
    )
    assert schema.check(database) == ()


def test_status_and_check_create_no_file(sqlite_url: str, tmp_path: Path):
    database = open_database(sqlite_url)
    assert schema.status(database).state == "missing"
    for act in (schema.check, schema.upgrade):
        with pytest.raises(Unavailable):
            act(database)
    assert list(tmp_path.iterdir()) == []


def test_init_says_why_a_file_cannot_be_created(tmp_path: Path):
    path = tmp_path / "nowhere" / "test.db"
    with pytest.raises(Unavailable) as caught:
        schema.init(open_database(f"sqlite:///{path}"))
    assert caught.value.message == (
        f'the database file "{path}" cannot be created: No such file or directory'
    )


def test_a_newer_schema_is_left_to_the_newer_program(database: Database):
    execute(database, "UPDATE usermgr_version SET version_num = '0009'")
    before = image(database)
    for act in (schema.init, schema.upgrade, lambda d: schema.downgrade(d, "0001")):
        with pytest.raises(Unavailable, match="newer than this program"):
            act(database)
    assert image(database) == before


def test_the_version_table_of_the_application_is_left_alone(empty_database: Database):
    """The users table belongs to an application, and that may well use Alembic itself."""
    database = empty_database
    make_challenge(
        database,
        more="""
            CREATE TABLE alembic_version (version_num varchar(32) NOT NULL);
            INSERT INTO alembic_version VALUES ('f3a91c');
        """,
    )
    assert schema.status(database).state == "unmanaged"
    assert schema.init(database).outcome == "adopted"
    assert (schema.status(database).state, schema.check(database)) == ("current", ())
    assert schema.downgrade(database, "0002").outcome == "downgraded"
    assert schema.upgrade(database).outcome == "upgraded"
    assert schema.downgrade(database, "base").outcome == "downgraded"
    assert rows(database, "SELECT version_num FROM alembic_version") == [("f3a91c",)]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("CREATE TABLE users (id integer PRIMARY KEY, login varchar)", "there is no table roles"),
        ("CREATE TABLE users (id integer PRIMARY KEY)", "users has no column email"),
        ("CREATE TABLE operations (id integer PRIMARY KEY)", "tables of other programs"),
        ("CREATE VIEW users AS SELECT 1 AS id", "there is no table users"),
    ],
)
def test_tables_of_other_programs_stop_init(empty_database: Database, script: str, reason: str):
    execute(empty_database, script)
    before = image(empty_database)
    with pytest.raises(Conflict) as caught:
        schema.init(empty_database)
    assert reason in caught.value.message
    assert image(empty_database) == before


def test_other_tables_do_not_stop_init(empty_database: Database):
    execute(empty_database, "CREATE TABLE orders (id integer PRIMARY KEY)")
    assert schema.init(empty_database).outcome == "created"
    assert rows(empty_database, "SELECT count(*) FROM orders") == [(0,)]


def test_a_missing_schema_is_created_when_asked_for(postgresql_url: str):
    database = open_database(postgresql_url, db_schema="My-App")
    assert schema.status(database).state == "missing"
    before = image(database)
    with pytest.raises(Unavailable) as caught:
        schema.init(database)
    assert caught.value.message == f'there is no schema "My-App" in "{database.description}"'
    assert caught.value.hint == "create it with: usermgr schema init --create-schema"
    assert image(database) == before
    assert schema.init(database, create_schema=True).outcome == "created"
    assert schema.init(database, create_schema=True).outcome == "unchanged"
    assert schema.check(database) == ()


def test_a_search_path_to_nowhere_is_told(postgresql_url: str):
    database = open_database(postgresql_url)
    name = rows(database, "SELECT current_database()")[0][0]
    execute(database, f'ALTER DATABASE "{name}" SET search_path = nowhere')
    with pytest.raises(Unavailable, match="names no schema that exists"):
        schema.init(database)


def test_schemas_in_one_database_do_not_see_each_other(postgresql_url: str):
    public = open_database(postgresql_url)
    make_challenge(public)
    one = open_database(postgresql_url, db_schema="one")
    two = open_database(postgresql_url, db_schema="two")
    assert schema.init(one, create_schema=True).outcome == "created"
    assert schema.init(two, create_schema=True).outcome == "created"
    schema.downgrade(two, "0001")
    schema.downgrade(two, "base")
    assert schema.status(one).state == "current"
    assert schema.status(two).state == "missing"
    assert schema.status(public).state == "unmanaged"
    assert schema.init(public).outcome == "adopted"
    assert (schema.check(one), schema.check(public)) == ((), ())
    assert rows(public, "SELECT count(*) FROM one.users") == [(0,)]
    assert rows(public, "SELECT count(*) FROM public.users") == [(3,)]


def test_the_settings_of_a_migration_end_with_it(
    postgresql_url: str, statements: CollectStatements
):
    """Through PgBouncer in transaction mode the connection goes on to somebody else."""
    database = open_database(postgresql_url, db_schema="app")
    with statements(database) as sent:
        schema.init(database, create_schema=True)
    settings = [call for text in sent for call in re.findall(r"set_config\(.*?, (\w+)\)", text)]
    assert len(settings) > 4
    assert set(settings) == {"true"}
    assert [text for text in sent if re.match(r"(?i)\s*set (?!constraints)", text)] == []


def test_the_embedded_database_is_created_once(tmp_path: Path):
    path = tmp_path / "usermgr.db"
    database = Database(Settings(database_url=f"sqlite:///{path}"))
    assert schema.initialise_embedded(database)
    assert not schema.initialise_embedded(database)
    assert schema.check(database) == ()
    assert rows(database, "PRAGMA journal_mode") == [("wal",)]


def test_an_empty_file_counts_as_missing(tmp_path: Path):
    path = tmp_path / "usermgr.db"
    path.touch()
    database = Database(Settings(database_url=f"sqlite:///{path}"))
    assert schema.initialise_embedded(database)
    assert schema.status(database).state == "current"


def test_a_database_that_was_chosen_is_not_created_by_itself(sqlite_url: str, tmp_path: Path):
    assert not schema.initialise_embedded(open_database(sqlite_url))
    assert list(tmp_path.iterdir()) == []


def test_sixteen_first_commands_at_once_find_one_whole_database(tmp_path: Path):
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "usermgr", "role", "create", f"role {number}", "-o", "json"],
            env=process_environment(),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(16)
    ]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in started]
    assert Counter(status for _, _, status in ended) == {0: 16}, ended
    assert sorted(json.loads(stdout)["id"] for stdout, _, _ in ended) == list(range(1, 17))
    assert sum("note: created" in stderr for _, stderr, _ in ended) == 1
