"""The undo of a load into empty tables, which has a way of its own on PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import make_url, text

from tests.support.commands import Command
from tests.support.consistency import broken_promises, content
from tests.support.databases import execute, open_database
from usermgr.db import undo_load

pytestmark = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)

HEADER = "email,name,role,claims\n"
CSV = f"{HEADER}ana@example.com,Ana,member,read;write\nbob@example.com,Bob,guest,\n"
MORE = f"{HEADER}eva@example.com,Eva,member,read\n"


@pytest.fixture(autouse=True)
def few_are_worth_it() -> Iterator[None]:
    with patch.object(undo_load, "WORTH", 2):
        yield


def _indexes(url: str) -> list[tuple[object, ...]]:
    """The bin's indexes with the files they lie in: those that were built anew have others."""
    return execute(
        url,
        """
        SELECT pg_get_indexdef(x.indexrelid), c.relfilenode FROM pg_index x
        JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid IN
            ('recycled_users'::regclass, 'recycled_grants'::regclass) ORDER BY 1
        """,
    )


def _load(cli: Command, rows: str = CSV, **options: Any) -> str:
    Path("x.csv").write_text(rows)
    words = ("user", "import", "x.csv", "--create-roles", "--create-claims", "-o", "json")
    done = cli(*words, **options)
    assert done.exit_code == 0, done
    return str(done.json["operation_id"])


def test_a_load_is_taken_back_and_can_be_brought_back(cli: Command, database_url: str) -> None:
    before, indexes = content(database_url), _indexes(database_url)
    operation = _load(cli)
    loaded = content(database_url)

    tried = cli("undo", operation, "--dry-run", "-o", "json")
    assert (content(database_url), _indexes(database_url)) == (loaded, indexes)
    undone = cli("undo", operation, "-o", "json")

    counts = {"users_deleted": 2, "users_restored": 0, "roles_and_claims": 4, "left": 0}
    for done in (tried, undone):
        assert (done.exit_code, {key: done.json[key] for key in counts}) == (0, counts)
    assert content(database_url) == before
    after = _indexes(database_url)
    assert [name for name, _ in after] == [name for name, _ in indexes]
    assert not {file for _, file in after} & {file for _, file in indexes}
    assert cli("schema", "check").exit_code == 0
    binned = cli("bin", "list", "-o", "json").json
    assert sorted(user["email"] for user in binned) == ["ana@example.com", "bob@example.com"]
    again = cli("undo", str(undone.json["operation_id"]), "-o", "json")
    assert (again.exit_code, again.json["users_restored"]) == (0, 2)
    assert content(database_url) == loaded
    assert broken_promises(database_url) == {}


def _another_user(cli: Command, url: str) -> None:
    _load(cli, MORE)


def _a_change(cli: Command, url: str) -> None:
    assert cli("user", "revoke", "ana@example.com", "read").exit_code == 0
    assert cli("user", "grant", "ana@example.com", "read").exit_code == 0


def _a_deleted_user(cli: Command, url: str) -> None:
    _load(cli, MORE)
    assert cli("user", "delete", "eva@example.com", "--yes").exit_code == 0


def _another_index(cli: Command, url: str) -> None:
    execute(url, "COMMENT ON INDEX recycled_users_email_idx IS 'ours'")


def _another_key(cli: Command, url: str) -> None:
    execute(url, "COMMENT ON CONSTRAINT user_claims_fk ON user_claims IS 'ours'")


@pytest.mark.parametrize(
    "happens", [_another_user, _a_change, _a_deleted_user, _another_index, _another_key]
)
def test_otherwise_users_are_undone_one_by_one(
    cli: Command, database_url: str, happens: Callable[[Command, str], None]
) -> None:
    operation = _load(cli)
    happens(cli, database_url)
    indexes = _indexes(database_url)

    undone = cli("undo", operation, "-o", "json")

    assert (undone.json["users_deleted"], _indexes(database_url)) == (2, indexes)
    assert broken_promises(database_url) == {}


ATTACHED = {
    "a foreign key": "CREATE TABLE app (id bigint REFERENCES users (id) ON DELETE CASCADE)",
    "a key of the bin": """
        CREATE TABLE app (id bigint, operation bigint,
            FOREIGN KEY (id, operation) REFERENCES recycled_users (id, operation_id))
    """,
    "a view that needs a key": """
        CREATE VIEW app AS SELECT id, name FROM recycled_users GROUP BY id, operation_id
    """,
    "a trigger that waits": """
        CREATE FUNCTION app() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER app AFTER DELETE ON user_claims
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app()
    """,
    "a rule": "CREATE RULE app AS ON DELETE TO users DO ALSO SELECT 1",
    "row security": "ALTER TABLE user_claims ENABLE ROW LEVEL SECURITY",
}


@pytest.mark.parametrize("attached", ATTACHED)
def test_what_an_application_has_attached_keeps_its_say(
    cli: Command, database_url: str, attached: str
) -> None:
    operation = _load(cli)
    execute(database_url, ATTACHED[attached])
    indexes = _indexes(database_url)

    undone = cli("undo", operation, "-o", "json")

    assert (undone.json["users_deleted"], _indexes(database_url)) == (2, indexes)
    assert broken_promises(database_url) == {}


def test_rows_of_a_table_that_inherits_stay(cli: Command, database_url: str) -> None:
    operation = _load(cli)
    execute(database_url, "CREATE TABLE app () INHERITS (user_claims)")
    execute(database_url, "INSERT INTO app (user_id, claim_id) VALUES (777777, 1)")

    assert cli("undo", operation, "-o", "json").json["users_deleted"] == 2

    assert execute(database_url, "SELECT user_id FROM app") == [(777777,)]


def test_an_owner_who_may_create_nothing(cli: Command, database_url: str) -> None:
    """Keys cannot be built without the right to create in the schema; rows can be stored."""
    name = f"owner_{secrets.token_hex(4)}"
    execute(database_url, f"CREATE ROLE {name} LOGIN")
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    for (table,) in execute(database_url, tables):
        execute(database_url, f"ALTER TABLE {table} OWNER TO {name}")
    execute(database_url, f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {name}")
    owner = {"USERMGR_DATABASE_URL": str(make_url(database_url).set(username=name))}
    try:
        operation = _load(cli, env=owner)
        indexes = _indexes(database_url)
        undone = cli("undo", operation, "-o", "json", env=owner)
        assert (undone.json["users_deleted"], _indexes(database_url)) == (2, indexes)
    finally:
        execute(database_url, f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP ROLE {name}")


def test_other_settings_are_as_they_were(cli: Command, database_url: str) -> None:
    """Roles are deleted after the keys were built."""
    operation = _load(cli)
    execute(
        database_url,
        """
        CREATE TABLE seen (timeout text, memory text);
        CREATE FUNCTION app() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen VALUES (current_setting('statement_timeout'),
                current_setting('maintenance_work_mem'));
            RETURN NULL; END $$;
        CREATE TRIGGER app AFTER INSERT ON operations FOR EACH ROW EXECUTE FUNCTION app()
        """,
    )
    indexes = _indexes(database_url)
    assert cli("undo", operation, env={"USERMGR_STATEMENT_TIMEOUT": "77"}).exit_code == 0
    assert _indexes(database_url) != indexes
    ((timeout, memory),) = execute(database_url, "SELECT * FROM seen")
    assert (str(timeout)[:2], memory) == ("77", "64MB")


def test_tables_that_somebody_uses_are_not_locked(cli: Command, database_url: str) -> None:
    operation = _load(cli)
    indexes = _indexes(database_url)
    database = open_database(database_url)
    with database.connect() as reader:
        reader.execute(text("SELECT count(*) FROM users"))
        undone = cli("undo", operation, "-o", "json")
    database.engine.dispose()

    assert (undone.json["users_deleted"], _indexes(database_url)) == (2, indexes)


def test_whoever_began_to_read_before_sees_what_was_there(cli: Command, database_url: str) -> None:
    operation = _load(cli)
    database = open_database(database_url)
    with database.connect() as reader:
        reader.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        reader.execute(text("SELECT 1 FROM operations"))
        assert cli("undo", operation, "-o", "json").json["users_deleted"] == 2
        assert reader.execute(text("SELECT count(*) FROM users")).scalar_one() == 2
    database.engine.dispose()
    assert content(database_url)["users"] == []
