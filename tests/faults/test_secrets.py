"""Passwords and hashes stay where they belong, whatever fails and however much is asked for."""

from __future__ import annotations

import csv
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from tests.support.commands import Command, Result, run_inside
from tests.support.databases import PostgresDatabases, open_database
from tests.support.postgres import with_database
from usermgr.db.models import metadata

MARKER = "hunter2-marker-password"
LDAP = "{SSHA}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3"
"""Of the password "secret"."""
NEW_USER = ("user", "create", "--name", "Ana", "--email", "ana@example.com", "--role", "admin")
LOUDLY = [(), ("--debug",), ("-o", "json"), ("--debug", "-o", "json")]


def _everything_stored(url: str) -> str:
    """Every cell of every table, but for the column of the hashes."""
    database = open_database(url)
    cells = []
    with database.connect() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(table.select()):
                cells += [str(value) for key, value in row._mapping.items() if key != "password"]
    database.engine.dispose()
    return "\n".join(cells)


def _hashes(url: str) -> list[str]:
    database = open_database(url)
    with database.connect() as connection:
        found = list(connection.execute(text("SELECT password FROM users ORDER BY id")).scalars())
    database.engine.dispose()
    return found


def _servers_log(url: str) -> Path:
    log = Path(str(make_url(url).query.get("host"))) / "log"
    if not log.is_file():
        pytest.skip("the log of a server that the tests did not start is somewhere else")
    return log


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("more", LOUDLY)
def test_the_password_of_a_database_that_is_down(
    monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
):
    monkeypatch.setenv("PGPASSWORD", MARKER)
    for password in (f":{MARKER}", ""):
        url = f"postgresql://u{password}@127.0.0.1:{_closed_port()}/db"
        done = run_inside(("role", "create", "x", *more), "", {"USERMGR_DATABASE_URL": url})

        assert (done.exit_code, done.stdout) == (5, "")
        assert "Connection refused" in done.stderr
        assert MARKER not in done.stderr


@pytest.mark.parametrize("more", LOUDLY)
def test_a_password_that_the_database_refuses(
    postgresql_databases: PostgresDatabases,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
):
    monkeypatch.setenv("PGPASSWORD", MARKER)
    url = make_url(postgresql_databases.server.tcp_url).set(password=None).render_as_string()
    done = run_inside(("user", "list", *more), "", {"USERMGR_DATABASE_URL": url})

    assert (done.exit_code, done.stdout) == (5, "")
    assert "password authentication failed for user" in done.stderr
    assert MARKER not in done.stderr


@pytest.mark.parametrize("more", LOUDLY)
@pytest.mark.parametrize(
    "written", ["postgresql://u:{}@h/db", "postgresql://u:{}", "host=x password={}", "password={}"]
)
@pytest.mark.parametrize(
    "variable", ["PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSSLMODE"]
)
def test_a_whole_url_where_a_host_or_a_name_belongs(
    postgresql_databases: PostgresDatabases,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    written: str,
    more: tuple[str, ...],
):
    server = make_url(postgresql_databases.server.tcp_url)
    variables = {"PGHOST": server.host, "PGPORT": server.port, "PGPASSWORD": server.password}
    variables |= {"PGUSER": server.username, variable: written.format(MARKER)}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))

    done = run_inside(("user", "list", *more), "", dict(os.environ))

    assert (done.exit_code, done.stdout) == (5, "")
    assert ("Traceback" in done.stderr) == ("--debug" in more)
    assert MARKER not in done.stderr


@pytest.mark.parametrize("output", ["table", "tsv", "csv", "json", "jsonl", "yaml"])
def test_the_settings_are_shown_without_passwords(cli: Command, tmp_path: Path, output: str):
    (tmp_path / ".env").write_text(f"PGPASSWORD={MARKER}\n")
    url = f"postgresql://u:{MARKER}@127.0.0.1:{_closed_port()}/db?sslpassword={MARKER}"
    for words in (("config", "show"), ("config", "check"), ("schema", "status")):
        done = cli(*words, "-o", output, "--debug", env={"USERMGR_DATABASE_URL": url})
        assert done.exit_code == (0 if words[1] == "show" else 5)
        assert MARKER not in done.stdout + done.stderr


IMPORTED = f"""email,name,role,password,password_hash
plain@example.com,Plain,admin,{MARKER} imported,
hashed@example.com,Hashed,admin,,{LDAP}
short@example.com,Short,admin,hunter2,
both@example.com,Both,admin,{MARKER} and a hash,{{MD5}}Xr4ilOzQ4PCOq3aQ0qbuaQ==
odd@example.com,Odd,admin,,{MARKER} as a hash
"""
PASSWORD = ("--password-stdin", "--debug")
REFERENCES = ("ana@example.com", "hashed@example.com", "plain@example.com")


def _a_life(cli: Command) -> Iterator[Result]:
    """Every command that takes or moves a password or a hash, and those that show what it did."""
    Path("in.csv").write_text(IMPORTED)
    Path("hash").write_text(MARKER)
    ana, hashed, plain = REFERENCES
    yield cli("role", "create", "admin")
    yield cli(*NEW_USER, *PASSWORD, stdin=MARKER)
    yield cli(*NEW_USER, *PASSWORD, stdin=f"{MARKER} again")
    yield cli(*NEW_USER, "--if-not-exists", "--password-file", "hash", "-o", "json")
    yield cli("user", "set-password", ana, *PASSWORD, stdin=f"{MARKER} new\n")
    yield cli("user", "set-password", ana, *PASSWORD, stdin=MARKER[:8])
    yield cli("user", "set-password", ana, *PASSWORD, stdin=f"{MARKER}\n{MARKER}")
    yield cli("user", "import", "in.csv", "--debug")
    skipping = ("user", "import", "in.csv", "--on-error", "skip", "--debug", "-o", "json")
    yield cli(*skipping, "--rejects", "rejected.csv")
    Path("more.csv").write_text("email,name,role\nmade@example.com,Made,admin\n")
    yield cli("user", "import", "more.csv", "--generate-passwords", "made.csv", "--debug")
    yield cli("user", "verify-password", hashed, *PASSWORD, stdin=f"{MARKER} wrong")
    yield cli("user", "verify-password", "99", *PASSWORD, stdin=MARKER)
    yield cli("user", "verify-password", ana, *PASSWORD, "-o", "json", stdin=f"{MARKER} new")
    yield cli("password", "strengthen", "--debug", "-o", "json")
    yield cli("user", "verify-password", hashed, *PASSWORD, stdin="secret")
    yield cli("user", "delete", plain, "--yes")
    yield cli("bin", "list", "-o", "json")
    yield cli("user", "restore", plain, "-o", "json")
    listed = {row["command"]: row["id"] for row in cli("operation", "list", "-o", "json").json}
    yield cli("undo", str(listed["user set-password"]), "--debug", "-o", "json")
    yield cli("user", "export", "out.jsonl", "--debug")
    yield cli("user", "export")
    yield cli("audit", "seal", "-o", "json")
    yield cli("audit", "verify", "-o", "json")
    yield cli("audit", "export")
    for number in listed.values():
        yield cli("operation", "show", str(number), "-o", "json")
    for reference in REFERENCES:
        yield cli("user", "show", reference, "-o", "json")
        yield cli("user", "history", reference, "-o", "json")
    yield cli("user", "list", "-o", "yaml")
    yield cli("password", "report", "-o", "json")


def test_no_command_tells_a_password_or_a_hash(cli: Command, database_url: str):
    results = []
    hashes: set[str] = set()
    for done in _a_life(cli):
        results.append(done)
        hashes |= set(_hashes(database_url)) - {"!"}

    codes = [done.exit_code for done in results]
    assert codes == [0, 0, 4, 0, 0, 2, 2, 2, 6, 0, 8, 3, *[0] * 28]
    # Ana's two, the two that were imported, one of these wrapped and then new, and the made one.
    assert len(hashes) == 7
    (made,) = csv.DictReader(Path("made.csv").read_text().splitlines())
    files = [Path(name).read_text() for name in ("rejected.csv", "out.jsonl")]
    told = [text for done in results for text in (done.stdout, done.stderr)]
    digests = {stored.rpartition("$")[2] for stored in hashes}
    for secret in (MARKER, MARKER[:8], made["password"], "$argon2", "$usermgr-wrap$", *digests):
        for where in (*told, *files, _everything_stored(database_url)):
            assert secret not in where


def test_a_generated_password_is_shown_once_and_kept_nowhere(cli: Command, database_url: str):
    cli("role", "create", "admin")
    created = cli(*NEW_USER, "-o", "json", "--debug")

    generated = created.json["generated_password"]
    assert created.stdout.count(generated) == 1
    assert created.stderr == ""
    assert generated not in _everything_stored(database_url)
    assert _hashes(database_url)[0].startswith("$argon2id$")
    assert generated not in cli("user", "show", "1", "-o", "json").stdout


@pytest.mark.parametrize("more", LOUDLY)
def test_a_statement_that_fails_tells_nothing_of_its_values(
    cli: Command, database_url: str, more: tuple[str, ...]
):
    """PostgreSQL's message repeats the row that a check refuses, the hash included."""
    cli("role", "create", "admin")
    database = open_database(database_url)
    with database.connect() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER odd BEFORE INSERT ON users"
                " BEGIN SELECT RAISE(ABORT, 'odd is refused'); END"
                if database.is_sqlite
                else "ALTER TABLE users ADD CONSTRAINT odd CHECK (name <> 'Ana')"
            )
        )
        connection.commit()

    done = cli(*NEW_USER, "--password-stdin", *more, stdin=MARKER)

    assert (done.exit_code, done.stdout) == (4, "")
    assert ("Traceback" in done.stderr) == ("--debug" in more)
    assert ("INSERT" in done.stderr, "IntegrityError" in done.stderr) == (False, "--debug" in more)
    for secret in (MARKER, "$argon2id$", "ana@example.com", "Ana"):
        assert secret not in done.stderr


@pytest.mark.parametrize("on_conflict", ["fail", "skip", "update"])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    "rows",
    [
        ["n@example.com,,r,{hash}"],
        ["n@example.com,N,,{hash}"],
        ["n@example.com,N,r,{hash}", "n@example.com,N,r,{hash}"],
        ["A@example.com,A,r,{hash}"],
    ],
    ids=["no name", "no role", "repeated", "taken"],
)
def test_no_hash_of_a_row_that_is_refused_reaches_the_servers_log(
    migrated_postgresql_url: str, rows: list[str], on_conflict: str, *, beside: bool
) -> None:
    """The log has what PostgreSQL says of a refused row, and the row or the line in many cases."""
    log = _servers_log(migrated_postgresql_url)
    env = {"USERMGR_DATABASE_URL": migrated_postgresql_url}
    assert run_inside(("role", "create", "r"), "", env).exit_code == 0
    header, first = "email,name,role,password_hash", "a@example.com,A,r,{hash}"
    hashed = f"$2b$12${'Marker' * 9}"[:60]
    if beside:
        Path("first.csv").write_text(f"{header}\n{first}\n".format(hash=hashed))
        assert run_inside(("user", "import", "first.csv"), "", env).exit_code == 0
    else:
        rows = [first, *rows]
    Path("x.csv").write_text("\n".join([header, *rows, ""]).format(hash=hashed))
    written = log.stat().st_size

    words = ("user", "import", "x.csv", "--on-conflict", on_conflict, "--on-error", "skip")
    assert run_inside(words, "", env).exit_code in (0, 6)

    logged = log.read_bytes()[written:].decode()
    assert "Marker" not in logged, logged


OBSTACLES = {
    "nothing": (),
    "a trigger": (
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'no'; END $$""",
        """CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON users
            FOR EACH ROW EXECUTE FUNCTION refuse()""",
    ),
    "a constraint": (
        "ALTER TABLE users ADD CONSTRAINT odd CHECK (id < 0) NOT VALID",
        # Without this the server tells the row that it refused, whoever wrote it.
        "ALTER DATABASE {name} SET log_error_verbosity = terse",
    ),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_no_statement_in_the_servers_log_holds_a_hash(
    migrated_postgresql_url: str, obstacle: str
) -> None:
    """A statement that fails stands in the log, and with log_statement every one that writes."""
    log = _servers_log(migrated_postgresql_url)

    def run(*words: str, stdin: str = "") -> int:
        return run_inside(words, stdin, {"USERMGR_DATABASE_URL": migrated_postgresql_url}).exit_code

    def create(name: str) -> int:
        words = ("--name", name, "--email", f"{name}@example.com", "--role", "r")
        return run("user", "create", *words, "--password-stdin", stdin=MARKER)

    ready = [run("role", "create", "r"), *map(create, ("verified", "wrapped", "set", "undone"))]
    ready.append(run("user", "set-password", "4", "--password-stdin", stdin=f"{MARKER}2"))
    ready += [create("deleted"), run("user", "delete", "5", "--yes")]
    assert ready == [0] * 8
    database = open_database(migrated_postgresql_url)
    with database.connect() as connection:
        connection.execute(text("UPDATE users SET password = :p WHERE id < 3"), {"p": LDAP})
        for statement in ("ALTER DATABASE {name} SET log_statement = mod", *OBSTACLES[obstacle]):
            connection.execute(text(statement.format(name=database.engine.url.database)))
        connection.commit()
    database.engine.dispose()
    written = log.stat().st_size

    ended = {
        "create": create("new"),
        "taken": create("set"),
        "set": run("user", "set-password", "3", "--password-stdin", stdin=f"{MARKER}3"),
        "verify": run("user", "verify-password", "1", "--password-stdin", stdin="secret"),
        "strengthen": run("password", "strengthen"),
        "undo": run("undo", "6"),
        "restore": run("user", "restore", "5"),
    }

    refused = 4 if OBSTACLES[obstacle] else 0
    assert ended == {**dict.fromkeys(ended, refused), "taken": 4, "verify": 0}
    logged = log.read_bytes()[written:].decode()
    assert logged.count("INSERT INTO users (name") >= 2
    assert logged.count("UPDATE users SET password") >= 3
    assert ("RAISE" in logged, '"odd"' in logged) == (
        obstacle == "a trigger",
        obstacle == "a constraint",
    )
    for secret in (LDAP, "$argon2", "$usermgr-wrap$"):
        assert secret not in logged


@pytest.mark.parametrize(
    "words",
    [
        (*NEW_USER, f"--password={MARKER}"),
        (*NEW_USER, "--password", MARKER),
        (*NEW_USER, "--password-prompt", MARKER),
        (*NEW_USER, "--password-stdin", MARKER, "and", "more"),
        ("seed", "--password-stdin", MARKER),
        ("user", "set-password", "1", MARKER),
        ("user", "set-password", "1", f"--password-stdin={MARKER}"),
        ("user", "verify-password", "1", MARKER),
    ],
)
def test_a_password_on_the_command_line_is_refused_and_not_repeated(
    cli: Command, words: tuple[str, ...]
):
    done = cli(*words)

    assert (done.exit_code, done.stdout) == (2, "")
    assert MARKER not in done.stderr


def test_a_password_in_the_flag_is_warned_of_and_not_repeated(
    cli: Command, postgresql_databases: PostgresDatabases, migrated_postgresql_url: str
):
    name = str(make_url(migrated_postgresql_url).database)
    url = with_database(postgresql_databases.server.tcp_url, name)

    listed = cli("role", "list", "--database-url", url)

    warning = (
        "note: a password in --database-url is visible to everybody on this machine; "
        "USERMGR_DATABASE_URL or PGPASSWORD are not\n"
    )
    assert listed == Result(0, "id\tdescription\tprotected\tusers\n", warning)
