"""One schema, told three times (migrations, models, DDL file), is one and the same."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.migrations.challenge import dump, execute, libpq_url, rows
from tests.support.commands import run_inside
from tests.support.databases import open_database
from tests.support.postgres import program
from usermgr.db import schema
from usermgr.db.engine import Database
from usermgr.db.models import HEAD_REVISION
from usermgr.db.revisions import ddl_path, migrations_folder, revision_titles
from usermgr.records import Difference, SchemaStatus
from usermgr.urls import sqlite_path


def run_psql(database: Database, *, search_path: str | None = None) -> int:
    """Run the DDL file as the README says; returns psql's exit status."""
    options = {"PGOPTIONS": f"-c search_path={search_path}"} if search_path else {}
    command = [str(program("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(ddl_path())]
    done = subprocess.run(
        [*command, libpq_url(database)],
        env={"LC_ALL": "C", **options},
        capture_output=True,
        check=False,
    )
    return done.returncode


def test_the_ddl_file_makes_what_the_migrations_make(
    postgresql_url: str, migrated_postgresql_url: str
):
    written, migrated = open_database(postgresql_url), open_database(migrated_postgresql_url)
    assert run_psql(written) == 0
    structure = ("--schema-only", "--no-comments")
    assert dump(written, *structure) == dump(migrated, *structure)
    assert dump(written, "--data-only") == dump(migrated, "--data-only")
    assert schema.check(written) == ()


def test_the_ddl_file_tells_what_every_table_is_for(postgresql_url: str):
    database = open_database(postgresql_url)
    assert run_psql(database) == 0
    silent = """
        SELECT relname FROM pg_class WHERE relkind = 'r' AND relname <> 'usermgr_version'
        AND relnamespace = 'public'::regnamespace AND obj_description(oid, 'pg_class') IS NULL
    """
    assert rows(database, silent) == []


def test_a_database_made_from_the_ddl_file_works_at_once(postgresql_url: str):
    url = postgresql_url
    assert run_psql(open_database(url)) == 0
    env = {"USERMGR_DATABASE_URL": url}
    assert run_inside(("role", "create", "admin"), "", env).exit_code == 0
    create = ("user", "create", "--name", "Ana", "--email", "ana@example.com", "--role", "admin")
    assert run_inside((*create, "--no-password"), "", env).exit_code == 0
    unchanged = run_inside(("schema", "init", "-o", "json"), "", env)
    assert (unchanged.exit_code, unchanged.json["outcome"]) == (0, "unchanged")


def test_the_ddl_file_works_in_a_schema_of_its_own_and_only_once(postgresql_url: str):
    execute(open_database(postgresql_url), "CREATE SCHEMA app")
    database = open_database(postgresql_url, db_schema="app")
    assert run_psql(database, search_path="app") == 0
    before = dump(database)
    assert schema.check(database) == ()
    assert run_psql(database, search_path="app") == 3
    assert dump(database) == before


def test_the_ddl_command_prints_the_file():
    assert schema.ddl("postgresql") == ddl_path().read_text(encoding="utf-8")


def test_the_sqlite_script_makes_what_the_migrations_make(migrated_sqlite_url: str, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'script.db'}"
    with closing(sqlite3.connect(sqlite_path(url))) as file:
        file.executescript(schema.ddl("sqlite"))
    written = open_database(url)
    objects = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    assert rows(written, objects) == rows(open_database(migrated_sqlite_url), objects)
    assert schema.check(written) == ()


def test_the_models_are_what_the_migrations_make(database: Database):
    assert schema.check(database) == ()
    assert schema.status(database) == SchemaStatus(
        database.description, "current", HEAD_REVISION, HEAD_REVISION, ()
    )


def test_the_head_revision_is_the_newest_migration():
    declared = []
    for path in sorted((migrations_folder() / "versions").glob("*.py")):
        found = re.findall(r'^(?:down_)?revision = (?:"(\d+)"|None)$', path.read_text(), re.M)
        declared.append((path.name[:4], *found))
    assert declared == [
        ("0001", "0001", ""),
        ("0002", "0002", "0001"),
        ("0003", "0003", "0002"),
        ("0004", "0004", "0003"),
        ("0005", "0005", "0004"),
    ]
    assert list(revision_titles())[-1] == HEAD_REVISION


TAMPERED = {
    "DROP INDEX users_role_id_idx": "there is no index users_role_id_idx of users",
    "DROP INDEX claims_description_un": "claims_description_un",
    "ALTER TABLE users ADD COLUMN phone varchar": "there is a column users.phone that this program "
    "does not know",
    "ALTER TABLE users DROP COLUMN created_in": "there is no column users.created_in",
    "DROP TABLE changes": "there is no table changes",
    "CREATE INDEX mine ON users (name)": "there is an index mine of users that this program does "
    "not know",
}
TAMPERED_POSTGRESQL = {
    "ALTER TABLE users ALTER COLUMN version DROP DEFAULT": "users.version has another default",
    "ALTER TABLE users ALTER COLUMN name DROP NOT NULL": "users.name may not be empty, or may be",
    "ALTER TABLE users DROP CONSTRAINT users_email_lower": "there is no check users_email_lower",
    "ALTER TABLE users DROP CONSTRAINT users_fk": "there is no foreign key users_fk of users",
    "ALTER TABLE user_claims DROP CONSTRAINT user_claims_fk,"
    " ADD CONSTRAINT user_claims_fk FOREIGN KEY (user_id) REFERENCES users (id)": "there is no "
    "foreign key user_claims_fk of user_claims",
    "ALTER TABLE users DROP CONSTRAINT users_email_un": "there is no constraint users_email_un",
    'ALTER TABLE users ALTER COLUMN email TYPE varchar COLLATE "default"': "users.email has the "
    "collation default",
    "ALTER TABLE user_claims DROP CONSTRAINT user_claims_pk": "user_claims has the primary key ()",
    "ALTER TABLE operations DISABLE TRIGGER USER": "there is no trigger operations_append_only",
    "ALTER TABLE roles ALTER COLUMN id SET GENERATED BY DEFAULT": "roles.id has another default",
    "ALTER TABLE roles ALTER COLUMN description TYPE text": "roles.description is of the type TEXT",
    "CREATE OR REPLACE FUNCTION usermgr_append_only() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN RETURN NULL; END'": "the function usermgr_append_only does something else",
    "DROP TRIGGER changes_append_only ON changes; CREATE TRIGGER changes_append_only BEFORE UPDATE"
    " ON changes EXECUTE FUNCTION usermgr_append_only()": "the trigger changes_append_only does",
}


@pytest.mark.parametrize("statement", TAMPERED)
def test_check_tells_what_somebody_changed(database: Database, statement: str):
    execute(database, statement)
    found = [difference.difference for difference in schema.check(database)]
    assert any(TAMPERED[statement] in difference for difference in found), found


@pytest.mark.parametrize("statement", TAMPERED_POSTGRESQL)
def test_check_tells_what_somebody_changed_on_postgresql(
    migrated_postgresql_url: str, statement: str
):
    database = open_database(migrated_postgresql_url)
    execute(database, statement)
    found = [difference.difference for difference in schema.check(database)]
    assert any(TAMPERED_POSTGRESQL[statement] in difference for difference in found), found


def test_check_tells_of_a_missing_trigger_on_sqlite(migrated_sqlite_url: str):
    database = open_database(migrated_sqlite_url)
    execute(database, "DROP TRIGGER changes_no_delete")
    assert schema.check(database) == (
        Difference("there is no trigger changes_no_delete, or it is disabled"),
    )
    execute(
        database, "CREATE TRIGGER changes_no_delete BEFORE DELETE ON changes BEGIN SELECT 1; END"
    )
    assert schema.check(database) == (
        Difference("the trigger changes_no_delete does something else than in this program"),
    )


def test_tables_of_other_programs_are_no_difference(database: Database):
    execute(database, "CREATE TABLE orders (id integer PRIMARY KEY, note varchar)")
    assert schema.check(database) == ()
