"""Seals: what they print, what they cover, and that verification finds every row that changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, text

from tests.support.commands import Command, Result, run_inside
from tests.support.databases import open_database
from tests.support.people import create_company
from tests.support.tampering import tamper, tampered
from usermgr.db.engine import Database
from usermgr.db.evidence import LOCK_KEY
from usermgr.db.models import changes, operations
from usermgr.errors import Mismatch
from usermgr.formats.writers import instant
from usermgr.services.verifying import verify_history

EVERY_SEAL = "DELETE FROM seals", "DELETE FROM seal_blocks", "DELETE FROM sealed_operations"
WAY_OUT = (
    "hint: somebody wrote past usermgr: compare with a backup, or with what audit export wrote\n"
)


@pytest.fixture
def sealed(cli: Command) -> list[dict[str, Any]]:
    """Operations 1 to 6 in seal 1, operations 7 and 8 in seal 2, operation 9 in none; every
    operation has one change, of the same id."""
    create_company(cli)
    made = [cli("audit", "seal", "-o", "json").json]
    cli("user", "update", "1", "--name", "Ana S")
    cli("user", "grant", "1", "reports:export")
    made.append(cli("audit", "seal", "-o", "json").json)
    cli("user", "disable", "2")
    assert [(seal["operations"], seal["changes"]) for seal in made] == [(6, 6), (2, 2)]
    return made


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _lines_as_documented(url: str) -> list[str]:
    """The leaves of everything, computed as docs/security.md tells, and not as the program does."""
    lines = []
    database = open_database(url)
    with database.connect() as connection:
        made = connection.execute(select(changes).order_by(changes.c.id)).mappings().all()
        for row in connection.execute(select(operations).order_by(operations.c.id)).mappings():
            told = {**row, "started_at": instant(row["started_at"])}
            told["finished_at"] = instant(row["finished_at"])
            lines.append(f"o{row['id']}:{_sha256(_canonical(told))}")
            for change in made:
                if change["operation_id"] != row["id"]:
                    continue
                images = {key: change[key] for key in ("name", "before", "after")}
                covered = {
                    key: change[key]
                    for key in ("id", "operation_id", "entity", "entity_id", "action")
                }
                covered["digest"] = _sha256(_canonical(images | {"salt": change["salt"] or ""}))
                lines.append(f"c{change['id']}:{_sha256(_canonical(covered))}")
    database.engine.dispose()
    return lines


def test_a_seal_is_what_the_documentation_says(cli: Command, database_url: str) -> None:
    create_company(cli)
    first = cli("audit", "seal", "-o", "json")
    assert (first.exit_code, first.stderr) == (0, "")
    covered = _lines_as_documented(database_url)
    cli("user", "update", "1", "--name", "Ana Souza Lima", "--email", "joão@example.com")
    second = cli("audit", "seal", "-o", "json")
    rest = _lines_as_documented(database_url)[len(covered) :]

    previous = ""
    for number, (done, lines) in enumerate([(first, covered), (second, rest)], 1):
        operations_ = sum(line.startswith("o") for line in lines)
        data = {
            "id": number,
            "sealed_at": done.json["sealed_at"],
            "operations": operations_,
            "changes": len(lines) - operations_,
        }
        hashed = "".join(f"{line}\n" for line in [previous, *lines]).encode()
        digest = _sha256(hashed + _canonical(data) + b"\n")
        assert done.json == {
            **data,
            "previous": previous,
            "digest": digest,
            "public_key": None,
            "signature": None,
        }
        previous = digest
    assert operations_ == 1


def test_nothing_to_seal(cli: Command) -> None:
    none = cli("audit", "seal", "-o", "json")
    assert (none.exit_code, none.stdout, none.stderr) == (0, "", "note: nothing to seal\n")
    create_company(cli)
    seal = cli("audit", "seal", "-o", "json")

    again = cli("audit", "seal", "-o", "json")

    assert (again.exit_code, again.stderr) == (0, "note: nothing to seal since seal 1\n")
    assert again.json == seal.json


def test_a_history_that_is_whole(cli: Command, sealed: list[dict[str, Any]]) -> None:
    done = cli("audit", "verify", "-o", "json")
    assert (done.exit_code, done.stderr) == (
        0,
        "note: no seal covers 1 operation yet: usermgr audit seal\n",
    )
    assert done.json == {
        "seals": 2,
        "operations": 8,
        "changes": 8,
        "erased": 0,
        "unsealed": 1,
        "digest": sealed[1]["digest"],
    }
    for seal in sealed:
        assert cli("audit", "verify", "-q", "--anchor", seal["digest"].upper()).exit_code == 0


def test_a_history_without_seals(cli: Command) -> None:
    empty = cli("audit", "verify", "-o", "json")
    assert (empty.exit_code, empty.stderr) == (0, "")
    assert list(empty.json.values()) == [0, 0, 0, 0, 0, None]
    create_company(cli)
    done = cli("audit", "verify", "-o", "json")
    assert (done.exit_code, done.json["unsealed"]) == (0, 6)
    assert done.stderr == "note: no seal covers 6 operations yet: usermgr audit seal\n"


def test_sealing_is_no_operation(cli: Command) -> None:
    create_company(cli)
    before = cli("operation", "list", "-o", "json").json
    cli("audit", "seal")
    assert cli("operation", "list", "-o", "json").json == before
    cli("user", "disable", "1")
    assert cli("operation", "list", "-o", "json").json[0]["id"] == before[0]["id"] + 1


def test_what_commits_later_under_a_smaller_id_is_in_the_next_seal(
    cli: Command, database_url: str
) -> None:
    create_company(cli)
    cli("audit", "seal")
    # As if it had been running while the others ended.
    tamper(
        database_url,
        "INSERT INTO operations (id, command, actor, source, started_at, finished_at, outcome,"
        " counts) SELECT 0, command, actor, source, started_at, finished_at, outcome, counts"
        " FROM operations WHERE id = 1",
        "INSERT INTO changes (operation_id, entity, entity_id, name, action)"
        " VALUES (0, 'user', 9, 'late@example.com', 'delete')",
    )

    late = cli("audit", "seal", "-o", "json")

    assert (late.json["id"], late.json["operations"], late.json["changes"]) == (2, 1, 1)
    done = cli("audit", "verify", "-o", "json")
    assert (done.exit_code, done.json["operations"], done.json["changes"]) == (0, 7, 7)


BROKEN = {
    "UPDATE changes SET name = 'eve@example.com' WHERE id = 5": (
        "change 5 of operation 5 was changed after it was sealed (seal 1)"
    ),
    "UPDATE changes SET after = '{}' WHERE id = 5": (
        "change 5 of operation 5 was changed after it was sealed (seal 1)"
    ),
    "UPDATE changes SET before = NULL WHERE id = 7": (
        "change 7 of operation 7 was changed after it was sealed (seal 2)"
    ),
    "UPDATE changes SET before = 'null' WHERE id = 5": (
        "change 5 of operation 5 was changed after it was sealed (seal 1)"
    ),
    "UPDATE changes SET salt = NULL WHERE id = 5": (
        "change 5 of operation 5 was changed after it was sealed (seal 1)"
    ),
    "UPDATE changes SET entity_id = 2 WHERE id = 5": (
        "change 5 of operation 5 was changed after it was sealed (seal 1)"
    ),
    "UPDATE changes SET action = 'update' WHERE id = 8": (
        "change 8 of operation 8 was changed after it was sealed (seal 2)"
    ),
    "UPDATE operations SET actor = 'mallory' WHERE id = 3": (
        "operation 3 was changed after it was sealed (seal 1)"
    ),
    "UPDATE operations SET finished_at = '2020-01-01 00:00:00' WHERE id = 3": (
        "operation 3 was changed after it was sealed (seal 1)"
    ),
    "UPDATE operations SET counts = '{\"user.create\": 2}' WHERE id = 6": (
        "operation 6 was changed after it was sealed (seal 1)"
    ),
    "UPDATE operations SET undoes = 1 WHERE id = 6": (
        "operation 6 was changed after it was sealed (seal 1)"
    ),
    "DELETE FROM changes WHERE id = 5": (
        "change 5 of operation 5 was removed after it was sealed (seal 1)"
    ),
    "DELETE FROM changes WHERE id = 8": (
        "change 8 of operation 8 was removed after it was sealed (seal 2)"
    ),
    "DELETE FROM operations WHERE id = 4; DELETE FROM changes WHERE id = 4;"
    "DELETE FROM sealed_operations WHERE operation_id = 4": (
        "operation 4 was removed after it was sealed (seal 1)"
    ),
    "DELETE FROM sealed_operations WHERE operation_id = 3": (
        "operation 3 was removed after it was sealed; it is in no seal, or in another, now (seal 1)"
    ),
    "INSERT INTO sealed_operations VALUES (9, 1)": (
        "operation 9 was put in after the sealing (seal 1)"
    ),
    "INSERT INTO sealed_operations VALUES (99, 1)": (
        "operation 99 was put into a seal, and is not there"
    ),
    "INSERT INTO changes (operation_id, entity, entity_id, name, action)"
    " VALUES (5, 'user', 1, 'ana@example.com', 'grant')": (
        "change 10 of operation 5 was put in after the sealing (seal 1)"
    ),
    "INSERT INTO changes (operation_id, entity, entity_id, name, action)"
    " VALUES (999, 'user', 1, 'ana@example.com', 'grant')": "change 10 belongs to no operation",
    "UPDATE changes SET operation_id = 11 - operation_id WHERE id IN (5, 6)": (
        "change 5 of operation 5 was removed after it was sealed; it stands in operation 6 now"
        " (seal 1)"
    ),
    "DELETE FROM seals WHERE id = 1": "seal 1 is missing",
    "DELETE FROM seals WHERE id = 2": "seal 2 is missing",
    "UPDATE seals SET previous = digest WHERE id = 2": "seal 2 does not continue seal 1",
    "UPDATE seals SET previous = digest WHERE id = 1": (
        "seal 1 does not continue from the beginning"
    ),
    "UPDATE seals SET digest = previous WHERE id = 2": (
        "the digest of seal 2 is not that of what it covers: the seal was changed, or its rows and"
        " blocks"
    ),
    "UPDATE seals SET sealed_at = '2020-01-01 00:00:00' WHERE id = 1": (
        "the digest of seal 1 is not that of what it covers: the seal was changed, or its rows and"
        " blocks"
    ),
    "UPDATE seals SET changes = 7 WHERE id = 1": (
        "the digest of seal 1 is not that of what it covers: the seal was changed, or its rows and"
        " blocks"
    ),
    "UPDATE seal_blocks SET leaves = replace(leaves, 'c5:', 'c6:') WHERE seal_id = 1": (
        "block 0 of seal 1 was changed"
    ),
    "DELETE FROM seal_blocks WHERE seal_id = 2": "a block of seal 2 was changed",
    "UPDATE seal_blocks SET seal_id = 3 WHERE seal_id = 2": "a block of seal 2 was changed",
    "UPDATE changes SET action = 'update' WHERE id = 8;"
    "UPDATE seal_blocks SET leaves = 'o7:0' WHERE seal_id = 2": (
        "operation 7 was changed after it was sealed, and the blocks of seal 2 do not have its"
        " digest (seal 2)"
    ),
    "UPDATE changes SET digest = 'abc' WHERE id = 5": (
        "change 5 of operation 5 was changed after it was sealed (seal 1)"
    ),
}


@pytest.mark.usefixtures("sealed")
def test_what_was_tampered_with_is_named(database: Database) -> None:
    found = {}
    for statements in BROKEN:
        with tampered(database, statements.split(";")) as connection:
            try:
                verify_history(connection)
            except Mismatch as error:
                # PostgreSQL uses no id twice, also when it was rolled back.
                found[statements] = error.message.replace("change 11", "change 10")
    assert found == BROKEN


@pytest.mark.usefixtures("sealed")
def test_a_broken_row(cli: Command, database_url: str) -> None:
    tamper(database_url, "UPDATE changes SET name = 'eve@example.com' WHERE id = 5")
    done = cli("audit", "verify")
    assert (done.exit_code, done.stdout) == (8, "")
    assert done.stderr == (
        f"error: change 5 of operation 5 was changed after it was sealed (seal 1)\n{WAY_OUT}"
    )


@pytest.mark.usefixtures("sealed")
def test_a_broken_row_as_json(cli: Command, database_url: str) -> None:
    tamper(database_url, "DELETE FROM changes WHERE id = 7")
    done = cli("audit", "verify", "-o", "json")
    told = json.loads(done.stderr)["error"]
    assert (told["code"], told["details"]) == (
        "mismatch",
        {"problem": "removed", "seal": 2, "block": 0, "row": "c7"},
    )


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("forged", ["own", "fake"])
def test_images_that_were_taken_away_past_user_erase(
    cli: Command, database_url: str, forged: str
) -> None:
    """The digest alone proves nothing: an erasure must be recorded, and nothing stand beside it."""
    database = open_database(database_url)
    with database.connect() as connection:
        row = connection.execute(select(changes).where(changes.c.id == 5)).mappings().one()
    database.engine.dispose()
    images = {key: row[key] for key in ("name", "before", "after", "salt")}
    digest = _sha256(_canonical(images))
    gone = "name = '', before = NULL, after = NULL, salt = NULL"
    content = gone if forged == "own" else gone.replace("''", "'eve@example.com'")
    tamper(database_url, f"UPDATE changes SET digest = '{digest}', {content} WHERE id = 5")

    done = cli("audit", "verify")

    assert (done.exit_code, done.stdout) == (8, "")
    assert done.stderr.splitlines()[0] == (
        "error: change 5 was erased, and no erasure that is recorded says so"
        if forged == "own"
        else "error: change 5 of operation 5 was changed after it was sealed (seal 1)"
    )


def test_seals_that_were_made_anew_do_not_have_the_anchor(
    cli: Command, database_url: str, sealed: list[dict[str, Any]]
) -> None:
    tamper(database_url, "UPDATE operations SET actor = 'mallory'", *EVERY_SEAL)
    cli("audit", "seal")
    assert cli("audit", "verify").exit_code == 0, "this is what an anchor is for"

    done = cli("audit", "verify", "--anchor", sealed[0]["digest"])

    assert (done.exit_code, done.stdout) == (8, "")
    assert done.stderr == (
        f'error: no seal has the digest "{sealed[0]["digest"]}": seals were removed, or made anew'
        f" over other rows\n{WAY_OUT}"
    )


def test_what_cannot_be_an_anchor(cli: Command) -> None:
    done = cli("audit", "verify", "--anchor", "seal 1")
    assert (done.exit_code, done.stdout, done.stderr) == (
        2,
        "",
        (
            'error: "seal 1" is not the digest of a seal\n'
            "hint: usermgr audit seal prints it: 64 hexadecimal digits\n"
        ),
    )


@pytest.mark.parametrize(
    "stored", ["x'00ff'", "'not json'", "'" + "[" * 100_000 + "'", "CAST('{}' AS blob)", "7"]
)
def test_what_sqlite_keeps_in_any_column_is_a_broken_row(
    migrated_sqlite_url: str, stored: str
) -> None:
    def run(*words: str, stdin: str | bytes = "", env: Mapping[str, str] | None = None) -> Result:
        return run_inside(
            words, stdin, {"USERMGR_DATABASE_URL": migrated_sqlite_url, **(env or {})}
        )

    create_company(run)
    run("audit", "seal")
    tamper(migrated_sqlite_url, f'UPDATE changes SET "after" = {stored} WHERE id = 5')
    assert run("audit", "verify").stderr.startswith("error: change 5 of operation 5 was changed ")
    tamper(migrated_sqlite_url, f"UPDATE operations SET started_at = {stored} WHERE id = 2")
    assert run("audit", "verify").stderr.startswith("error: operation 2 was changed after ")
    tamper(migrated_sqlite_url, *EVERY_SEAL)
    run("audit", "seal")
    tamper(migrated_sqlite_url, f"UPDATE seals SET sealed_at = {stored}")
    done = run("audit", "verify")
    assert done.exit_code == 8
    assert done.stderr.startswith("error: the digest of seal 1 is not that of what it covers: ")


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize(
    ("table", "new", "row"),
    [
        ("operations", "actor = 'mallory' WHERE id = 3", "operation 3 "),
        ("changes", "name = 'eve@example.com' WHERE id = 5", "change 5 of operation 5 "),
        ("changes", "operation_id = 9 WHERE id = 5", "change 5 of operation 5 "),
    ],
)
@pytest.mark.parametrize("which_comes_first", ["true", "forged"])
def test_a_second_row_of_the_same_id(
    database: Database, table: str, new: str, row: str, which_comes_first: str
) -> None:
    """Without the primary key an id proves nothing; the copy is another row beside the true one."""
    rows = ("SELECT * FROM kept", "SELECT * FROM forged")
    if which_comes_first == "forged":
        rows = rows[::-1]
    statements = [
        f"CREATE TABLE kept AS SELECT * FROM {table}",
        f"CREATE TABLE forged AS SELECT * FROM {table} WHERE {new.partition('WHERE ')[2]}",
        f"UPDATE forged SET {new}",
        f"DROP TABLE {table}" + ("" if database.is_sqlite else " CASCADE"),
        f"CREATE TABLE {table} AS {' UNION ALL '.join(rows)}",
    ]
    with tampered(database, statements) as connection, pytest.raises(Mismatch, match=row):
        verify_history(connection)


ON_POSTGRESQL = {
    "UPDATE operations SET started_at = (started_at::text || ' BC')::timestamptz WHERE id = 3": (
        "operation 3 was changed after it was sealed (seal 1)"
    ),
    "UPDATE operations SET finished_at = finished_at + interval '10000 years' WHERE id = 3": (
        "operation 3 was changed after it was sealed (seal 1)"
    ),
    "UPDATE operations SET finished_at = '-infinity' WHERE id = 3": (
        "operation 3 was changed after it was sealed (seal 1)"
    ),
    **{
        f"UPDATE seals SET sealed_at = {sealed_at}": (
            "the digest of seal 1 is not that of what it covers: the seal was changed, or its rows"
            " and blocks"
        )
        for sealed_at in ("(sealed_at::text || ' BC')::timestamptz", "'infinity'")
    },
}


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("sealed")
def test_times_that_only_postgresql_knows(database: Database) -> None:
    found = {}
    for statement in ON_POSTGRESQL:
        with tampered(database, [statement]) as connection:
            try:
                verify_history(connection)
            except Mismatch as error:
                found[statement] = error.message
    assert found == ON_POSTGRESQL


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        (
            (
                'UPDATE changes SET "after" = \'{"role_id":1,"email":"evil@example.org",\''
                ' || substr("after", 2) WHERE id = 5'
            ),
            "change 5 of operation 5",
        ),
        (
            (
                'UPDATE changes SET "after" = replace("after", \'"grants": [{\','
                ' \'"grants": [{"claim_id":1,\') WHERE id = 8'
            ),
            "change 8 of operation 8",
        ),
        (
            (
                "UPDATE operations SET counts = '{\"user.create\":9,' || substr(counts, 2)"
                " WHERE id = 5"
            ),
            "operation 5",
        ),
    ],
)
def test_a_key_that_stands_in_an_object_twice(
    migrated_sqlite_url: str, statement: str, row: str
) -> None:
    """Of two equal keys SQLite reads the first, Python the last, which is the true one here."""

    def run(*words: str, stdin: str | bytes = "", env: Mapping[str, str] | None = None) -> Result:
        return run_inside(
            words, stdin, {"USERMGR_DATABASE_URL": migrated_sqlite_url, **(env or {})}
        )

    create_company(run)
    run("user", "update", "1", "--name", "Ana S")
    run("user", "grant", "1", "reports:export")
    run("audit", "seal")
    tamper(migrated_sqlite_url, statement)
    done = run("audit", "verify")
    assert done.exit_code == 8
    assert done.stderr.startswith(f"error: {row} was changed after it was sealed ")


def test_seals_at_once(cli: Command, cli_process: Command) -> None:
    """All end well; every operation is in one seal."""
    create_company(cli)
    with ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(cli_process, "audit", "seal", "-o", "json") for _ in range(3)]
    ended = [run.result() for run in runs]
    assert [done.exit_code for done in ended] == [0] * 3
    assert sorted(done.stderr for done in ended) == [
        "",
        *["note: nothing to seal since seal 1\n"] * 2,
    ]
    done = cli("audit", "verify", "-o", "json")
    assert (done.exit_code, done.json["seals"], done.json["operations"]) == (0, 1, 6)
    assert {seal.json["digest"] for seal in ended} == {done.json["digest"]}


def test_a_seal_waits_no_longer_than_it_may(cli: Command, database_url: str) -> None:
    create_company(cli)
    database = open_database(database_url)
    with database.connect() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        done = cli("audit", "seal", env={"USERMGR_LOCK_TIMEOUT": "0.2"})
        connection.rollback()
    database.engine.dispose()
    assert (done.exit_code, done.stdout) == (5, "")
    assert done.stderr.startswith("error: the database is locked by another command: ")
    assert cli("audit", "verify", "-o", "json").json["seals"] == 0
