"""The load without keys: what administrators and applications did to keys and indexes stays."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.commands import Command, Result
from tests.support.consistency import broken_promises
from tests.support.databases import execute

pytestmark = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)

CSV = "email,name,role,claims\nana@example.com,Ana,member,read\n"

ALTERED = {
    "replica identity": ("users_email_un", "ALTER TABLE users REPLICA IDENTITY USING INDEX {}"),
    "comment on a constraint": ("users_fk", "COMMENT ON CONSTRAINT {} ON users IS 'ours'"),
    "comment on an index": ("users_role_id_idx", "COMMENT ON INDEX {} IS 'ours'"),
    "fill factor": ("users_pk", "ALTER INDEX {} SET (fillfactor = 70)"),
    "order": ("user_claims_pk", "ALTER TABLE user_claims CLUSTER ON {}"),
    "delete rule": (
        "user_claims_fk",
        (
            "ALTER TABLE user_claims DROP CONSTRAINT {0}, ADD CONSTRAINT {0}"
            " FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE DEFERRABLE"
        ),
    ),
    "not checked": (
        "users_fk",
        (
            "ALTER TABLE users DROP CONSTRAINT {0}, ADD CONSTRAINT {0}"
            " FOREIGN KEY (role_id) REFERENCES roles (id) NOT VALID"
        ),
    ),
    "other columns": (
        "users_role_id_idx",
        "DROP INDEX {0}; CREATE INDEX {0} ON users (role_id, active)",
    ),
    "dropped": ("user_claims_claim_id_idx", "DROP INDEX {}"),
}

NEEDING = {
    "a foreign key on e-mails": "CREATE TABLE app (email varchar REFERENCES users (email))",
    "a foreign key on ids": "CREATE TABLE app (id bigint REFERENCES users (id))",
    "a view": "CREATE VIEW app AS SELECT id, name, email FROM users GROUP BY id",
    "nothing": "SELECT 1",
}


def _keys(url: str) -> list[tuple[object, ...]]:
    """Everything that PostgreSQL knows of the keys and indexes of the two tables."""
    tables = "('users'::regclass, 'user_claims'::regclass)"
    return execute(
        url,
        f"""
        SELECT c.relname, pg_get_indexdef(c.oid), x.indisclustered, x.indisreplident,
            c.reltablespace, obj_description(c.oid, 'pg_class')
        FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid IN {tables}
        UNION ALL SELECT conname, pg_get_constraintdef(oid), false, false, 0,
            obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conrelid IN {tables}
        ORDER BY 1, 2
        """,
    )


def _import(cli: Command, *words: str) -> Result:
    Path("x.csv").write_text(CSV)
    return cli("user", "import", "x.csv", "--create-roles", "--create-claims", *words, "-o", "json")


@pytest.mark.parametrize("altered", ALTERED)
def test_keys_that_somebody_changed_stay(cli: Command, database_url: str, altered: str) -> None:
    name, statement = ALTERED[altered]
    execute(database_url, statement.format(name))
    before = _keys(database_url)

    refused = _import(cli, "--exclusive")
    done = _import(cli)

    assert (refused.exit_code, refused.stdout) == (7, "")
    assert (name in refused.stderr, "import without --exclusive" in refused.stderr) == (True, True)
    assert (done.exit_code, done.json["created"], done.json["grants_added"]) == (0, 1, 1)
    assert _keys(database_url) == before
    assert broken_promises(database_url) == {}


@pytest.mark.parametrize("needing", NEEDING)
def test_keys_that_an_application_needs_stay(cli: Command, database_url: str, needing: str) -> None:
    execute(database_url, NEEDING[needing])
    before = _keys(database_url)

    done = _import(cli)
    seeded = cli("seed", "--users", "3")

    assert (done.exit_code, done.json["created"], seeded.exit_code) == (0, 1, 0)
    assert _keys(database_url) == before
    exclusive = _import(cli, "--exclusive", "--on-conflict", "skip")
    if needing == "a foreign key on e-mails":
        assert exclusive.exit_code == 7
        assert "import without --exclusive" in exclusive.stderr
    else:
        assert (exclusive.exit_code, exclusive.json["skipped"]) == (0, 1)
    assert _keys(database_url) == before
    assert broken_promises(database_url) == {}


def test_a_seed_of_empty_tables_whose_keys_are_needed(cli: Command, database_url: str) -> None:
    execute(database_url, NEEDING["a foreign key on e-mails"])
    assert cli("seed", "--users", "3").exit_code == 0


@pytest.mark.parametrize("schema", [None, "Odd-schema"])
def test_empty_tables_are_loaded_without_keys(
    cli: Command, database_url: str, schema: str | None
) -> None:
    """Each key and index is another file afterwards: the way that is fast was taken."""
    env, prefix = {}, ""
    if schema:
        env, prefix = {"USERMGR_DB_SCHEMA": schema}, f'"{schema}".'
        execute(database_url, f'CREATE SCHEMA "{schema}"')
        assert cli("schema", "init", env=env).exit_code == 0
    files = (
        "SELECT indexrelid FROM pg_index WHERE indrelid IN"
        f" ('{prefix}users'::regclass, '{prefix}user_claims'::regclass)"
    )
    before = set(execute(database_url, files))
    Path("x.csv").write_text(CSV)

    words = ("user", "import", "x.csv", "--create-roles", "--create-claims")
    assert cli(*words, env=env).exit_code == 0

    after = set(execute(database_url, files))
    assert len(after) == len(before) == 6
    assert not after & before


def test_keys_are_not_built_before_a_trigger_that_waits(cli: Command, database_url: str) -> None:
    execute(
        database_url,
        """
        CREATE FUNCTION app() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER app AFTER INSERT ON users
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app()
        """,
    )
    before = _keys(database_url)

    refused = _import(cli, "--exclusive")
    done = _import(cli)

    assert (refused.exit_code, "may wait for the end" in refused.stderr) == (7, True)
    assert (done.exit_code, done.json["created"], _keys(database_url)) == (0, 1, before)


def test_row_security_lets_no_row_be_copied(cli: Command, database_url: str) -> None:
    name = f"owner_{secrets.token_hex(4)}"
    execute(database_url, f"CREATE ROLE {name} LOGIN")
    execute(database_url, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    execute(database_url, "ALTER TABLE users ENABLE ROW LEVEL SECURITY")
    other = {"USERMGR_DATABASE_URL": str(make_url(database_url).set(username=name))}
    try:
        Path("x.csv").write_text(CSV)
        refused = cli("user", "import", "x.csv", "--create-roles", "--create-claims", env=other)
        assert (refused.exit_code, refused.stdout) == (7, "")
        assert refused.stderr == (
            "error: row security hides rows from this database user, and lets none be copied in\n"
            "hint: import as a user who has BYPASSRLS, or as the owner where it is not forced\n"
        )
    finally:
        execute(database_url, f"DROP OWNED BY {name}; DROP ROLE {name}")
