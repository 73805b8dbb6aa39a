"""Up and down with rows, ids that never return, a history that only grows, two at once."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing

import psycopg2
import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from tests.migrations.challenge import execute, image, libpq_url, make_challenge, rows
from tests.support.commands import process_environment, run_inside
from tests.support.databases import open_database
from usermgr.db import schema
from usermgr.db.engine import Database
from usermgr.db.migrating import LOCK_KEY
from usermgr.db.models import changes, metadata, operations, roles, users
from usermgr.errors import Conflict, InvalidInput, Unavailable
from usermgr.records import SchemaReport

UTC_TEXT = {
    "sqlite": "SELECT id, {0} FROM users ORDER BY id",
    "postgresql": "SELECT id, to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    " FROM users ORDER BY id",
}


def instants(database: Database, column: str) -> list[tuple[int, str | None]]:
    """A column of users as it is stored, in UTC."""
    dialect = "sqlite" if database.is_sqlite else "postgresql"
    return [(row[0], row[1]) for row in rows(database, UTC_TEXT[dialect].format(column))]


def dates(database: Database) -> list[tuple[str, ...]]:
    """The dates of the users at revision 0001."""
    statement = "SELECT CAST(created_at AS varchar), CAST(updated_at AS varchar) FROM users"
    return rows(database, f"{statement} ORDER BY id")


def fill(database: Database) -> None:
    """One operation with one change, beside the rows of the challenge."""
    with database.operation("test", "tester") as op:
        op.record("user", 1, "ana@example.com", "update", after={"name": "Ana"})


def test_rows_survive_the_way_down_and_up_again(empty_database: Database):
    database = empty_database
    make_challenge(database)
    schema.init(database)
    fill(database)
    kept = {
        name: rows(database, f"SELECT * FROM {name} ORDER BY 1, 2")
        for name in ("roles", "claims", "user_claims")
    }
    name = database.description
    assert schema.downgrade(database, "0001") == SchemaReport(
        name,
        "downgraded",
        "0005",
        "0001",
        (
            "reverted 0005_http",
            "reverted 0004_trust",
            "reverted 0003_history",
            "reverted 0002_integrity",
        ),
    )
    assert rows(database, "SELECT id, name, email, password, role_id FROM users ORDER BY id") == [
        (1, "Ana", "ana@example.com", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA", 1),
        (2, "Bob", "bob@example.com", "123456", 2),
        (7, "Zoë", "zoë@xn--bcher-kva.example", "!", 2),
    ]
    assert dates(database) == [
        ("2021-05-31", "2022-01-01"),
        ("1999-12-31", None),
        ("2024-02-29", None),
    ]
    assert schema.upgrade(database, "0002").changes[-1] == "applied 0002_integrity"
    assert schema.upgrade(database) == SchemaReport(
        name,
        "upgraded",
        "0002",
        "0005",
        ("applied 0003_history", "applied 0004_trust", "applied 0005_http"),
    )
    assert schema.upgrade(database) == SchemaReport(name, "unchanged", "0005", "0005", ())
    for table, content in kept.items():
        assert rows(database, f"SELECT * FROM {table} ORDER BY 1, 2") == content
    assert schema.check(database) == ()


def test_a_new_history_does_not_claim_users_of_the_one_before(database: Database):
    env = {"USERMGR_DATABASE_URL": database.url}
    assert run_inside(("seed", "--users", "3", "-q"), "", env).exit_code == 0
    schema.downgrade(database, "0002")
    schema.upgrade(database)
    assert run_inside(("role", "create", "first"), "", env).exit_code == 0
    assert rows(database, "SELECT id, command FROM operations") == [(1, "role create")]
    assert run_inside(("user", "history", "1", "-o", "json"), "", env).json == []


def test_dates_become_instants_at_midnight_utc_and_dates_again(empty_database: Database):
    database = empty_database
    make_challenge(database)
    schema.init(database)
    assert instants(database, "created_at") == [
        (1, "2021-05-31 00:00:00.000000"),
        (2, "1999-12-31 00:00:00.000000"),
        (7, "2024-02-29 00:00:00.000000"),
    ]
    assert instants(database, "updated_at") == [
        (1, "2022-01-01 00:00:00.000000"),
        (2, None),
        (7, None),
    ]
    late = "'2024-03-01 23:30:00.000000" + ("'" if database.is_sqlite else "+00'")
    execute(database, f"UPDATE users SET updated_at = {late} WHERE id = 7")
    schema.downgrade(database, "0001")
    assert dates(database)[2] == ("2024-02-29", "2024-03-01")


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamptz"])
def test_the_time_zone_of_the_server_moves_nothing(postgresql_url: str, kind: str):
    database = open_database(postgresql_url)
    change = (
        "ALTER TABLE users ALTER COLUMN created_at TYPE {0} USING created_at AT TIME ZONE 'UTC'"
    )
    make_challenge(database, more="" if kind == "date" else change.format(kind))
    name = rows(database, "SELECT current_database()")[0][0]
    execute(database, f"ALTER DATABASE \"{name}\" SET TimeZone = 'America/Sao_Paulo'")
    schema.init(database)
    assert instants(database, "created_at")[0] == (1, "2021-05-31 00:00:00.000000")
    schema.downgrade(database, "0001")
    assert dates(database)[0] == ("2021-05-31", "2022-01-01")


def test_base_removes_everything(database: Database):
    fill(database)
    report = schema.downgrade(database, "base")
    assert (report.outcome, report.revision) == ("downgraded", None)
    assert schema.status(database).state == "missing"
    assert schema.init(database).outcome == "created"
    assert schema.check(database) == ()


@pytest.mark.parametrize("revision", ["0009", "1", "-1", "heads", "", "0001; DROP TABLE users"])
def test_unknown_revisions_name_the_known_ones(database: Database, revision: str):
    for act in (schema.upgrade, schema.downgrade):
        with pytest.raises(InvalidInput) as caught:
            act(database, revision)
        assert caught.value.message == f'no revision "{revision}"'
        assert caught.value.hint == (
            "the revisions are 0001, 0002, 0003, 0004, 0005, head, and for a downgrade base"
        )


def test_upgrade_does_not_go_down_nor_downgrade_up(database: Database):
    with pytest.raises(InvalidInput, match='0005, which is higher than "0001"'):
        schema.upgrade(database, "0001")
    schema.downgrade(database, "0002")
    with pytest.raises(InvalidInput, match='0002, which is lower than "head"'):
        schema.downgrade(database, "head")
    assert schema.downgrade(database, "0002").outcome == "unchanged"


def test_upgrade_wants_a_schema(empty_database: Database):
    if empty_database.is_sqlite:
        execute(empty_database, "PRAGMA user_version")
    with pytest.raises(Unavailable) as caught:
        schema.upgrade(empty_database)
    assert caught.value.hint == "create it with: usermgr schema init"
    make_challenge(empty_database)
    with pytest.raises(Unavailable) as caught:
        schema.upgrade(empty_database)
    assert caught.value.hint == "adopt them with: usermgr schema init"


def test_ids_never_return(empty_database: Database):
    """Neither after a delete nor after tables were built anew."""
    database = empty_database
    make_challenge(database)
    schema.init(database)
    execute(database, "DELETE FROM user_claims; DELETE FROM users; DELETE FROM roles WHERE id = 2")
    schema.downgrade(database, "0001")
    schema.upgrade(database)
    with database.connect() as connection:
        role_id = connection.execute(
            insert(roles).values(description="new").returning(roles.c.id)
        ).scalar_one()
        user = insert(users).values(name="N", email="n@example.com", role_id=role_id)
        user_id = connection.execute(user.returning(users.c.id)).scalar_one()
    assert (role_id, user_id) == (3, 8)


HISTORY_WRITES = [
    ("UPDATE operations SET actor = 'x'", "UPDATE of operations"),
    ("DELETE FROM operations", "DELETE of operations"),
    ("UPDATE changes SET name = 'x'", "UPDATE of changes"),
    ("DELETE FROM changes", "DELETE of changes"),
]


@pytest.mark.parametrize(("statement", "what"), HISTORY_WRITES)
def test_the_history_can_only_be_added_to(database: Database, statement: str, what: str):
    fill(database)
    before = image(database)
    with (
        pytest.raises(IntegrityError, match=f"the history is append-only: {what} is refused"),
        database.connect() as connection,
    ):
        connection.execute(text(statement))
    assert image(database) == before


@pytest.mark.parametrize("table", ["operations", "changes"])
def test_the_history_cannot_be_truncated(migrated_postgresql_url: str, table: str):
    database = open_database(migrated_postgresql_url)
    with (
        pytest.raises(IntegrityError, match=f"append-only: TRUNCATE of {table} is refused"),
        database.connect() as connection,
    ):
        connection.execute(text(f"TRUNCATE {table} CASCADE"))


@pytest.mark.parametrize("table", ["operations", "changes"])
def test_the_history_cannot_be_replaced(migrated_sqlite_url: str, table: str):
    database = open_database(migrated_sqlite_url)
    fill(database)
    with (
        pytest.raises(IntegrityError, match=f"append-only: REPLACE of {table} is refused"),
        database.connect() as connection,
    ):
        connection.execute(text(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"))


def test_an_operation_is_written_after_its_changes(database: Database):
    fill(database)
    with database.read() as connection:
        counted = select(func.count()).select_from(changes.join(operations))
        assert connection.execute(counted).scalar_one() == 1


def start_upgrades(database: Database, number: int) -> list[subprocess.Popen[str]]:
    """That many ``schema upgrade`` at once, as processes."""
    return [
        subprocess.Popen(
            [sys.executable, "-m", "usermgr", "schema", "upgrade", "-o", "json"],
            env={**process_environment(), "USERMGR_DATABASE_URL": database.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(number)
    ]


def outcomes(started: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """The exit status and the outcome of each, sorted."""
    ended = [(process.communicate(timeout=120)[0], process.returncode) for process in started]
    return sorted((status, json.loads(stdout)["outcome"]) for stdout, status in ended)


def test_upgrades_at_once_all_end_well(empty_database: Database):
    make_challenge(empty_database)
    schema.init(empty_database)
    schema.downgrade(empty_database, "0001")
    ended = outcomes(start_upgrades(empty_database, 4))
    assert ended == [(0, "unchanged")] * 3 + [(0, "upgraded")]
    assert schema.check(empty_database) == ()
    assert rows(empty_database, "SELECT count(*) FROM users") == [(3,)]


def test_an_upgrade_waits_for_the_one_before(migrated_postgresql_url: str):
    database = open_database(migrated_postgresql_url)
    schema.downgrade(database, "0001")
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with closing(psycopg2.connect(libpq_url(database))) as first, first.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
        started = start_upgrades(database, 2)
        count = 0
        while count < 2 and all(process.poll() is None for process in started):
            cursor.execute(waiting)
            ((count,),) = cursor.fetchall()
        assert count == 2
        assert schema.status(database).revision == "0001"
        first.rollback()
        assert outcomes(started) == [(0, "unchanged"), (0, "upgraded")]


def test_a_view_in_the_way_is_named_and_nothing_changes(migrated_postgresql_url: str):
    database = open_database(migrated_postgresql_url)
    schema.downgrade(database, "0001")
    execute(database, "CREATE VIEW addresses AS SELECT email FROM users")
    before = image(database)
    with pytest.raises(Conflict, match="depends on what must be changed: cannot alter type"):
        schema.upgrade(database)
    assert image(database) == before


@pytest.mark.parametrize("change", ["RENAME CONSTRAINT {} TO other", "DROP CONSTRAINT {}"])
def test_a_key_that_somebody_renamed_or_dropped_is_made_again(
    migrated_postgresql_url: str, change: str
):
    database = open_database(migrated_postgresql_url)
    made_again = f"ALTER TABLE user_claims {change.format('user_claims_fk')}"
    execute(database, made_again)
    schema.downgrade(database, "0003")
    execute(database, f"ALTER TABLE user_claims DROP CONSTRAINT IF EXISTS other; {made_again}")
    schema.upgrade(database)
    assert all(difference.addition for difference in schema.check(database))


def test_a_broken_migration_leaves_nothing_behind(empty_database: Database):
    """An index of a name that 0003 wants makes it fail after 0002 is through."""
    database = empty_database
    schema.init(database)
    schema.downgrade(database, "0001")
    execute(database, "CREATE INDEX changes_name_idx ON roles (description)")
    before = image(database)
    with pytest.raises(Exception, match="changes_name_idx"):
        schema.upgrade(database)
    assert image(database) == before
    assert schema.status(database).revision == "0001"


def test_every_table_of_the_models_is_checked(database: Database):
    """An empty answer of ``check`` means something: it has looked at every table."""
    for table in reversed(metadata.sorted_tables):
        execute(database, f"DROP TABLE {table.name}" + ("" if database.is_sqlite else " CASCADE"))
    found = [difference.difference for difference in schema.check(database)]
    missing = [words for words in found if words.startswith("there is no table")]
    assert sorted(missing) == sorted(f"there is no table {name}" for name in metadata.tables)
