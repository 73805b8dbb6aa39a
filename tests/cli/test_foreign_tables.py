"""Tables and rules of an application beside ours: what they forbid is refused with their name."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.support.commands import Command, Result
from tests.support.consistency import broken_promises
from tests.support.databases import open_database
from tests.support.people import create_company

HINT = "hint: delete or change the rows that refer to it first\n"


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    create_company(cli)


def _execute(url: str, *statements: str) -> None:
    database = open_database(url)
    with database.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
        connection.commit()
    database.engine.dispose()


@pytest.mark.parametrize("action", ["NO ACTION", "RESTRICT"])
@pytest.mark.parametrize(
    ("noun", "table", "words", "name"),
    [
        ("user", "users", ("2", "--yes"), "bruno@example.com"),
        ("role", "roles", ("3",), "guest"),
        ("claim", "claims", ("2",), "reports:export"),
    ],
)
def test_what_an_application_refers_to_stays(
    cli: Command,
    database_url: str,
    backend: str,
    noun: str,
    table: str,
    words: tuple[str, ...],
    name: str,
    action: str,
) -> None:
    cli("role", "create", "guest")
    before = cli(noun, "list", "-o", "json").stdout
    _execute(
        database_url,
        f"CREATE TABLE orders (held bigint CONSTRAINT o_fk REFERENCES {table} ON DELETE {action})",
        f"INSERT INTO orders VALUES ({words[0]})",
    )

    done = cli(noun, "delete", *words)

    by = 'table "orders" (constraint "o_fk")' if backend == "postgresql" else "another table"
    message = f'error: the {noun} "{name}" is referred to by {by}\n'
    assert done == Result(4, "", message + HINT)
    assert cli(noun, "list", "-o", "json").stdout == before
    assert broken_promises(database_url) == {}
    _execute(database_url, "DELETE FROM orders")
    assert cli(noun, "delete", *words).exit_code == 0


def test_a_role_that_users_have_and_an_application_refers_to(
    cli: Command, database_url: str
) -> None:
    _execute(
        database_url,
        "CREATE TABLE orders (held integer REFERENCES roles)",
        "INSERT INTO orders VALUES (2)",
    )

    done = cli("role", "delete", "2")

    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr.startswith('error: the role "member" is in use by 1 user\n')


def test_a_reference_that_is_checked_at_the_commit(
    cli: Command, database_url: str, backend: str
) -> None:
    _execute(
        database_url,
        "CREATE TABLE orders (held bigint CONSTRAINT o_fk REFERENCES users"
        " DEFERRABLE INITIALLY DEFERRED)",
        "INSERT INTO orders VALUES (2)",
    )

    done = cli("user", "delete", "2", "--yes")

    key = 'the foreign key "o_fk" of the table "orders"'
    key = key if backend == "postgresql" else "a foreign key"
    assert done == Result(4, "", f"error: {key} forbids the change\n" + HINT)
    assert cli("user", "show", "2").exit_code == 0
    assert broken_promises(database_url) == {}


def test_a_grant_that_an_application_refers_to(cli: Command, database_url: str) -> None:
    _execute(
        database_url,
        "CREATE TABLE keys (u bigint, c bigint, FOREIGN KEY (u, c) REFERENCES user_claims)",
        "INSERT INTO keys VALUES (1, 1)",
    )

    done = cli("user", "revoke", "1", "reports:read")

    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr.endswith(" forbids the change\n" + HINT)
    assert cli("user", "show", "1", "-o", "json").json["claims"] == ["reports:read"]


def test_an_e_mail_that_an_application_refers_to(
    cli: Command, database_url: str, backend: str
) -> None:
    _execute(
        database_url,
        "CREATE TABLE inbox (held varchar CONSTRAINT i_fk REFERENCES users (email))",
        "INSERT INTO inbox VALUES ('ana@example.com')",
    )

    done = cli("user", "update", "1", "--email", "new@example.com")

    key = 'the foreign key "i_fk" of the table "inbox"'
    key = key if backend == "postgresql" else "a foreign key"
    assert done == Result(4, "", f"error: {key} forbids the change\n" + HINT)
    assert cli("user", "update", "1", "--name", "New").exit_code == 0


def test_an_import_into_empty_tables_keeps_the_key_that_an_application_needs(
    cli: Command, database_url: str
) -> None:
    _execute(
        database_url,
        "CREATE TABLE orders (held bigint CONSTRAINT o_fk REFERENCES users (id))",
    )
    assert cli("user", "delete", "1", "2", "--yes").exit_code == 0
    rows = "".join(f"N,n{number}@example.com,member\n" for number in range(20))

    done = cli("user", "import", "-", "-o", "json", stdin=f"name,email,role\n{rows}")

    assert (done.exit_code, done.json["created"]) == (0, 20)
    assert cli("schema", "check", "-o", "json").json == []
    user_id = cli("user", "show", "n7@example.com", "-o", "json").json["id"]
    _execute(database_url, f"INSERT INTO orders VALUES ({user_id})")
    assert cli("user", "delete", str(user_id), "--yes").exit_code == 4
    assert broken_promises(database_url) == {}


CREATE = ("user", "create", "--name", "Bad Bad Bad Bad", "--email", "b@example.com")
RULES = {
    "check": (
        ["ALTER TABLE users ADD CONSTRAINT no_bad CHECK (name NOT LIKE 'Bad%')"],
        'the constraint "no_bad" of the table "users"',
    ),
    "unique": (
        [
            "CREATE UNIQUE INDEX one_bad ON users (left(name, 3))",
            (
                "INSERT INTO users (name, email, password, role_id, created_in)"
                " VALUES ('Bad', 'n@x.com', '!', 1, 1)"
            ),
        ],
        'the constraint "one_bad" of the table "users"',
    ),
    "empty": (
        [
            "ALTER TABLE users ADD COLUMN team text DEFAULT 'one' NOT NULL",
            "ALTER TABLE users ALTER team DROP DEFAULT",
        ],
        'the column "team" of the table "users", which must not be empty,',
    ),
    "length": (
        ["ALTER TABLE users ALTER name TYPE varchar(14)"],
        "the length of a column (type character varying(14))",
    ),
    "trigger": (
        [
            (
                "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'no % here', NEW.password; END $$"
            ),
            "CREATE TRIGGER forbids BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION forbid()",
        ],
        'the trigger function "forbid"',
    ),
}
SQLITE_RULES = {
    "trigger": (
        [
            (
                "CREATE TRIGGER forbids BEFORE INSERT ON users"
                " BEGIN SELECT RAISE(ABORT, 'not here'); END"
            )
        ],
        "a trigger",
    ),
    "unique": (
        [
            "CREATE UNIQUE INDEX one_bad ON users (substr(name, 1, 3))",
            (
                "INSERT INTO users (name, email, password, role_id, created_in)"
                " VALUES ('Bad', 'n@x.com', '!', 1, 1)"
            ),
        ],
        "the rule \"UNIQUE constraint failed: index 'one_bad'\"",
    ),
}


@pytest.mark.parametrize(
    ("backend", "rule"),
    [("postgresql", rule) for rule in RULES] + [("sqlite", rule) for rule in SQLITE_RULES],
    indirect=["backend"],
)
def test_a_rule_of_an_application_forbids_the_change(
    cli: Command, database_url: str, backend: str, rule: str
) -> None:
    statements, told = (RULES if backend == "postgresql" else SQLITE_RULES)[rule]
    _execute(database_url, *statements)
    before = cli("user", "list", "-o", "json").stdout

    done = cli(*CREATE, "--role", "member", "--no-password")

    hint = "hint: the rule is the database's own: ask who looks after it\n"
    assert done == Result(4, "", f"error: {told} forbids the change\n{hint}")
    assert cli("user", "list", "-o", "json").stdout == before
