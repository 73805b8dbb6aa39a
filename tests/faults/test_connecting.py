"""A connection that cannot be made: each reason has its own way out. A schema that is missing."""

from __future__ import annotations

import socket

import pytest
from sqlalchemy import make_url, text

from tests.support.commands import Result, run_inside
from tests.support.databases import PostgresDatabases, open_database
from usermgr.db.models import HEAD_REVISION

SOURCE = "usermgr config show tells where the database URL comes from"
SECRET = "hunter2-secret"


def _run(url: str, *words: str, **settings: str) -> Result:
    return run_inside(words or ("role", "list"), "", {"USERMGR_DATABASE_URL": url, **settings})


def _refused(message: str, hint: str) -> Result:
    return Result(5, "", f"error: {message}\nhint: {hint}\n")


def test_a_server_that_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert _run(f"postgresql://u:{SECRET}@127.0.0.1:{port}/app") == _refused(
        f'cannot connect to "postgresql://127.0.0.1:{port}/app": Connection refused',
        f"start the server, or correct host and port; {SOURCE}",
    )


@pytest.mark.parametrize("option", ["client_encoding=latin1", "options=-cclient_encoding=latin1"])
def test_an_encoding_in_the_url_does_not_count(migrated_postgresql_url: str, option: str) -> None:
    """In another one some names could be neither stored nor read."""
    name = "Ж 漢字"
    keyword, _, value = option.partition("=")
    with_option = make_url(migrated_postgresql_url).update_query_dict({keyword: value})
    url = with_option.render_as_string(hide_password=False)
    assert _run(url, "role", "create", name).exit_code == 0

    for where in (url, migrated_postgresql_url):
        listed = _run(where, "role", "list")
        assert listed == Result(0, f"id\tdescription\tprotected\tusers\n1\t{name}\tfalse\t0\n", "")


def test_a_socket_that_does_not_exist() -> None:
    done = _run("postgresql:///app?host=/nowhere")

    assert (done.exit_code, done.stdout) == (5, "")
    assert "No such file or directory\n" in done.stderr
    assert done.stderr.endswith(f"hint: start the server, or correct host and port; {SOURCE}\n")


def test_a_host_that_does_not_exist() -> None:
    done = _run(f"postgresql://u:{SECRET}@nowhere.invalid/app")

    assert (done.exit_code, done.stdout) == (5, "")
    assert done.stderr.endswith(f"\nhint: correct the host; {SOURCE}\n")


def test_a_password_that_is_refused(postgresql_databases: PostgresDatabases) -> None:
    url = make_url(postgresql_databases.server.tcp_url).set(password=SECRET)
    done = _run(url.render_as_string(hide_password=False))

    assert (done.exit_code, done.stdout) == (5, "")
    assert "password authentication failed for user" in done.stderr
    assert SECRET not in done.stderr
    assert done.stderr.endswith(
        "\nhint: correct the user, or the password in the URL, in PGPASSWORD or in ~/.pgpass\n"
    )


def test_a_database_that_does_not_exist(postgresql_databases: PostgresDatabases) -> None:
    done = _run(postgresql_databases.server.database("none"))

    assert (done.exit_code, done.stdout) == (5, "")
    assert "database 'none' does not exist\n" in done.stderr
    assert done.stderr.endswith(
        f"hint: create the database with: createdb NAME, or correct its name; {SOURCE}\n"
    )


def test_a_url_that_stands_where_a_database_name_should(
    postgresql_databases: PostgresDatabases,
) -> None:
    done = _run(postgresql_databases.server.database(f"postgresql://u:{SECRET}@h/app"))

    assert (done.exit_code, done.stdout) == (5, "")
    assert "database 'postgresql://u:***@h/app' does not exist\n" in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize(
    "words",
    [("role", "list"), ("role", "create", "x"), ("schema", "check")],
    ids=" ".join,
)
def test_a_postgresql_schema_without_tables_is_named(
    postgresql_url: str, words: tuple[str, ...]
) -> None:
    done = _run(postgresql_url, *words, USERMGR_DB_SCHEMA="app")

    assert done == _refused(
        f'the database "{open_database(postgresql_url).description}" has no usermgr tables '
        f'in the schema "app" (revision none, this program needs {HEAD_REVISION})',
        "create it with: usermgr schema init --create-schema",
    )
    init = ("schema", "init", "--create-schema", "-q")
    assert _run(postgresql_url, *init, USERMGR_DB_SCHEMA="app").exit_code == 0
    assert _run(postgresql_url, *words, "-q", USERMGR_DB_SCHEMA="app").exit_code == 0


def test_a_schema_that_exists_is_created_in_by_the_same_words(postgresql_url: str) -> None:
    database = open_database(postgresql_url)
    with database.connect() as connection:
        connection.execute(text("CREATE SCHEMA app"))
        connection.commit()

    assert "--create-schema" in _run(postgresql_url, USERMGR_DB_SCHEMA="app").stderr
    init = ("schema", "init", "--create-schema", "-q")
    assert _run(postgresql_url, *init, USERMGR_DB_SCHEMA="app").exit_code == 0


def test_an_old_postgresql_schema_is_named(postgresql_url: str) -> None:
    for words in (("schema", "init", "--create-schema"), ("schema", "downgrade", "0002", "--yes")):
        assert _run(postgresql_url, *words, USERMGR_DB_SCHEMA="app").exit_code == 0

    assert _run(postgresql_url, USERMGR_DB_SCHEMA="app") == _refused(
        f'the schema "app" of "{open_database(postgresql_url).description}" is at revision 0002, '
        f"this program needs {HEAD_REVISION}",
        "bring it up with: usermgr schema upgrade",
    )


def test_a_schema_of_sqlite_is_not_named(sqlite_url: str) -> None:
    assert _run(sqlite_url, USERMGR_DB_SCHEMA="app") == _refused(
        f'the database "{sqlite_url}" has no usermgr schema '
        f"(revision none, this program needs {HEAD_REVISION})",
        "create it with: usermgr schema init",
    )


def test_a_table_that_somebody_dropped(database_url: str) -> None:
    database = open_database(database_url)
    with database.connect() as connection:
        connection.execute(text("DROP TABLE user_claims"))
        connection.commit()

    assert _run(database_url, "user", "list") == _refused(
        f'the schema of "{database.description}" is at revision {HEAD_REVISION}, '
        "but lacks some of its tables or columns",
        "see what is missing with: usermgr schema check",
    )
    assert _run(database_url, "schema", "check").exit_code == 5
