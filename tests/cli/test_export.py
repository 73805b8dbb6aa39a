"""user export: what an import of it gives back, and what it keeps to itself."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.commands import Command, run_inside
from usermgr.db.engine import Database

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2E$" + "A" * 43
NAMES = (
    'Quote " and, comma; semi\\colon',
    "=1+1",
    "'apostrophe",
    "@handle",
    "+551199",
    "-dash",
    "Zoë 🎉 עברית",
    "\\N",
    "\\.",
    "#hash",
    "e\u0301 becomes NFC",
    "back\\slash\\",
)
FIELDS = "name,email,role,claims,active,created_at"


@pytest.fixture
def people(cli: Command) -> None:
    users = [
        {
            "name": name,
            "email": f"p{number}@example.com",
            "role": "=admin" if number % 2 else "member",
            "claims": ["a;b", "c\\d", "=x"][: number % 4],
            "active": number % 3 > 0,
            "created_at": f"2026-01-{number + 1:02}T00:00:00.{number:06}Z",
            "password_hash": HASH if number % 2 else "!",
        }
        for number, name in enumerate(NAMES)
    ]
    done = cli(
        *("user", "import", "-", "--create-roles", "--create-claims", "-q"),
        stdin=json.dumps(users),
    )
    assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.json", "safe.csv", "safe.tsv"])
def test_an_import_of_an_export_gives_the_same_users(
    cli: Command, other_database_url: str, name: str
) -> None:
    safe = ["--safe"] if name.startswith("safe") else []
    assert cli("user", "export", name, "--with-password-hashes", *safe).exit_code == 0
    environment = {"USERMGR_DATABASE_URL": other_database_url}
    words = ("user", "import", name, "--create-roles", "--create-claims", *safe)
    done = run_inside(words, "", environment)
    assert (done.exit_code, done.stderr) == (0, "")
    exports = [
        cli("user", "export", "--with-password-hashes", "--format", "jsonl"),
        run_inside(
            ("user", "export", "--with-password-hashes", "--format", "jsonl"), "", environment
        ),
    ]
    assert exports[0].stdout == exports[1].stdout
    assert exports[0].stdout.count("\n") == len(NAMES)
    # And where they are already, nothing differs.
    again = cli("user", "import", name, "--on-conflict", "update", "-o", "json", *safe)
    assert again.json["unchanged"] == len(NAMES)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
@pytest.mark.parametrize("skip", [[], ["--on-error", "skip", "--on-conflict", "skip"]])
def test_ids_can_be_kept(cli: Command, other_database_url: str, name: str, skip: list[str]) -> None:
    cli("user", "delete", "p2@example.com", "--yes")
    assert cli("user", "export", name, "--with-ids").exit_code == 0
    environment = {"USERMGR_DATABASE_URL": other_database_url}
    words = ("user", "import", name, "--create-roles", "--create-claims", *skip)
    refused = run_inside(words, "", environment)
    assert refused.exit_code == 2
    assert "--with-ids" in refused.stderr

    done = run_inside((*words, "--with-ids"), "", environment)

    assert (done.exit_code, done.stderr) == (0, "")
    listing = ("user", "export", "--with-ids", "--format", "jsonl")
    kept = run_inside(listing, "", environment).stdout
    assert kept == cli(*listing).stdout
    # New users go on behind them, and nobody else's ids are taken over.
    create = ("user", "create", "--name", "N", "--email", "n@example.com", "--role", "member")
    new = run_inside((*create, "--no-password", "-o", "json"), "", environment).json
    assert new["id"] == max(json.loads(line)["id"] for line in kept.splitlines()) + 1
    again = run_inside((*words, "--with-ids"), "", environment)
    assert again.exit_code == 4
    assert "without users" in again.stderr
    assert run_inside(listing, "", environment).stdout.startswith(kept)


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (("1", "1"), 'line 3: the id "1" stands on line 2 already'),
        (("1", ""), "line 3: the id is missing"),
        (("0", "2"), 'line 2: the id is "0"'),
        (("-1", "2"), 'line 2: the id is "-1"'),
        (("9223372036854775808", "2"), 'line 2: the id is "9223372036854775808"'),
        (("\u0661", "2"), 'line 2: the id is "\u0661"'),
        (("1", "1.0"), 'line 3: the id is "1.0"'),
    ],
)
def test_ids_that_cannot_be_kept(cli: Command, ids: tuple[str, str], reason: str) -> None:
    cli("role", "create", "member")
    rows = [f"{found},N,n{line}@example.com,member\n" for line, found in enumerate(ids)]
    text = "id,name,email,role\n" + "".join(rows)

    refused = cli("user", "import", "-", "--with-ids", stdin=text)

    assert refused.exit_code == 2
    assert reason in refused.stderr
    assert cli("user", "list", "-o", "json").json == []
    partly = cli("user", "import", "-", "--with-ids", "--on-error", "skip", stdin=text)
    assert partly.exit_code == 6
    kept = [user["id"] for user in cli("user", "list", "-o", "json").json]
    assert kept == [1] if ids[0] == "1" else [2]


@pytest.mark.usefixtures("people")
def test_fields_and_filters(cli: Command) -> None:
    done = cli("user", "export", "--role", "=admin", "--active", "--fields", "email,id,claims")
    assert done.exit_code == 0
    rows = list(csv.reader(io.StringIO(done.stdout)))
    listed = cli("user", "list", "--role", "=admin", "--active", "-o", "json").json
    assert rows[0] == ["email", "id", "claims"]
    assert [row[:2] for row in rows[1:]] == [[u["email"], str(u["id"])] for u in listed]
    assert done.stderr == f"note: exported {len(listed)} users\n"


@pytest.mark.usefixtures("people")
def test_hashes_are_for_those_who_ask_and_their_file_for_its_owner(cli: Command) -> None:
    assert HASH not in cli("user", "export").stdout
    refused = cli("user", "export", "--fields", "email,password_hash")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert cli("user", "export", "x.csv", "--with-password-hashes").exit_code == 0
    assert HASH in Path("x.csv").read_text()
    assert stat.S_IMODE(Path("x.csv").stat().st_mode) == 0o600


@pytest.mark.usefixtures("people")
def test_safe_cells_are_no_formulas(cli: Command) -> None:
    rows = list(csv.reader(io.StringIO(cli("user", "export", "--safe").stdout)))
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    refused = cli("user", "export", "--safe", "--format", "json")
    assert (refused.exit_code, refused.stdout) == (2, "")


@pytest.mark.usefixtures("people")
def test_a_file_appears_only_when_it_is_complete(cli: Command) -> None:
    Path("x.csv").write_text("old")
    assert cli("user", "export", "x.csv", "--role", "nobody").exit_code == 3
    assert Path("x.csv").read_text() == "old"
    assert cli("user", "export", "no/x.csv").exit_code == 2
    assert sorted(path.name for path in Path().glob("*.csv")) == ["x.csv"]
    assert not list(Path().glob(".x.csv*"))


def test_nobody_is_an_empty_file(cli: Command) -> None:
    assert cli("user", "export").stdout == FIELDS + "\n"
    assert cli("user", "export", "--format", "json").json == []
    assert cli("user", "export", "--format", "jsonl").stdout == ""


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("name", ["a\rb", "a\r\nb", "\ra\rb", "a\nb\t"])
def test_adopted_names_stay_in_their_cells(cli: Command, database: Database, name: str) -> None:
    """Names of tables that were there before may hold what no command would store."""
    with database.connect() as connection:
        connection.execute(text("UPDATE users SET name = :name WHERE id = 3"), {"name": name})
        connection.commit()
    done = cli("user", "export", "--fields", "name,email")
    rows = list(csv.reader(io.StringIO(done.stdout, newline="")))
    assert rows[3] == [name, "p2@example.com"]
    assert len(rows) == 1 + len(NAMES)
    again = cli("user", "import", "-", "--on-conflict", "update", stdin=done.stdout)
    assert again.exit_code == 2
    assert "\n  line 4: the user name " in again.stderr


@pytest.mark.parametrize(
    ("words", "environment", "text_of_nobody"),
    [
        (("x.csv", "-o", "json", "--format", "json"), {}, "[]"),
        (("x.jsonl", "-o", "jsonl"), {}, ""),
        (("x.ndjson",), {}, ""),
        (("backup", "-o", "json"), {}, "[]"),
        (("backup",), {"USERMGR_OUTPUT": "json"}, FIELDS),
        (("x.csv",), {"USERMGR_OUTPUT": "json"}, FIELDS),
    ],
)
def test_the_format_is_what_was_said(
    cli: Command, words: tuple[str, ...], environment: dict[str, str], text_of_nobody: str
) -> None:
    assert cli("user", "export", *words, env=environment).exit_code == 0
    assert Path(words[0]).read_text().rstrip("\n") == text_of_nobody


def test_a_name_and_an_option_that_contradict_each_other_are_refused(cli: Command) -> None:
    refused = cli("user", "export", "x.csv", "-o", "json")
    assert (refused.exit_code, Path("x.csv").exists()) == (2, False)
    assert "is a name for csv, and -o says json" in refused.stderr
