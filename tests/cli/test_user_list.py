"""user list: filters, order, pages by key, streaming."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping

import pytest
from sqlalchemy import insert

from tests.support.commands import Command, Result, run_inside
from tests.support.people import create_company, create_user
from usermgr.db.engine import Database
from usermgr.db.models import users
from usermgr.urls import sqlite_path

PEOPLE = (
    ("Zoé Ação", "zoe@example.com", "member"),
    ("zoe lower", "under_score@example.com", "member"),
    ("Same", "same1@example.com", "admin"),
    ("Same", "same2@example.com", "admin"),
    ("100% Sure", "sure@example.com", "member"),
    ("Back\\slash", "back@example.com", "member"),
)


@pytest.fixture
def people(cli: Command) -> None:
    create_company(cli)
    for name, email, role in PEOPLE:
        create_user(cli, name, email, role)
    cli("user", "grant", "same1@example.com", "reports:read", "reports:export")
    cli("user", "disable", "sure@example.com")


def _ids(cli: Command, *words: str) -> list[int]:
    done = cli("user", "list", *words, "-o", "json")
    assert done.exit_code == 0, done.stderr
    return [user["id"] for user in done.json]


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ([], [1, 2, 3, 4, 5, 6, 7, 8]),
        (["--role", "ADMIN"], [1, 5, 6]),
        (["--role", "1"], [1, 5, 6]),
        (["--claim", "reports:read"], [1, 5]),
        (["--claim", "reports:read", "--claim", "reports:export"], [5]),
        (["--active"], [1, 2, 3, 4, 5, 6, 8]),
        (["--inactive"], [7]),
        (["--search", "AÇÃO"], [3]),
        (["--search", "zoe"], [3, 4]),
        (["--search", "100%"], [7]),
        (["--search", "%"], [7]),
        (["--search", "_"], [4]),
        (["--search", "\\"], [8]),
        (["--search", "EXAMPLE.com", "--role", "member"], [2, 3, 4, 7, 8]),
        (["--created-since", "1d"], [1, 2, 3, 4, 5, 6, 7, 8]),
        (["--created-since", "2999-01-01"], []),
        (["--sort", "email"], [1, 8, 2, 5, 6, 7, 4, 3]),
        (["--sort", "name"], [7, 1, 8, 2, 5, 6, 3, 4]),
        (["--sort", "name", "--descending"], [4, 3, 6, 5, 2, 8, 1, 7]),
        (["--sort", "created_at", "--descending"], [8, 7, 6, 5, 4, 3, 2, 1]),
    ],
)
def test_filters_and_orders(cli: Command, words: list[str], ids: list[int]) -> None:
    assert _ids(cli, *words) == ids


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("sort", ["id", "email", "name", "created_at"])
@pytest.mark.parametrize("direction", [(), ("--descending",)])
def test_pages_add_up_to_the_whole(cli: Command, sort: str, direction: tuple[str, ...]) -> None:
    order = ("--sort", sort, *direction)
    whole = _ids(cli, *order, "--all")
    assert sorted(whole) == [1, 2, 3, 4, 5, 6, 7, 8]
    paged: list[int] = []
    cursor: tuple[str, ...] = ()
    for _ in range(5):
        done = cli("user", "list", *order, "--limit", "3", *cursor, "-o", "json")
        paged += [user["id"] for user in done.json]
        note = re.fullmatch(
            r"note: (\d) of 8 users are shown; the next ones: --after (\S+), every one: --all\n",
            done.stderr,
        )
        if note is None:
            assert done.stderr == ""
            break
        assert note[1] == "3"
        cursor = ("--after", note[2])
    assert paged == whole


@pytest.mark.usefixtures("people")
def test_a_page_that_holds_all_says_nothing(cli: Command) -> None:
    done = cli("user", "list", "--limit", "8")
    assert (done.exit_code, done.stderr, len(done.rows)) == (0, "", 9)
    assert cli("user", "list", "--limit", "7", "-q").stderr == ""


def test_pages_by_time_of_rows_that_another_program_stored(
    migrated_sqlite_url: str,
) -> None:
    """SQLite keeps instants as text, and everybody writes them in another way."""

    def cli(*words: str, stdin: str | bytes = "", env: Mapping[str, str] | None = None) -> Result:
        return run_inside(
            words, stdin, {"USERMGR_DATABASE_URL": migrated_sqlite_url, **(env or {})}
        )

    cli("role", "create", "member")
    instants = [
        "2024-05-01 10:00:00",
        "2024-05-01 10:00:00.000000",
        "2024-05-01 10:00:00.5",
        "2024-05-01T10:00:00Z",
        "2024-05-01 09:59:59.999999",
        "2024-05-01 12:00:00+02:00",
        "2024-05-02",
    ]
    with sqlite3.connect(sqlite_path(migrated_sqlite_url)) as connection:
        connection.executemany(
            "INSERT INTO users (name, email, role_id, created_at) VALUES ('N', ?, 1, ?)",
            [(f"u{i}@example.com", instant) for i, instant in enumerate(instants)],
        )
        connection.execute(
            "INSERT INTO users (name, email, role_id) VALUES ('N', 'now@example.com', 1)"
        )
    connection.close()
    create_user(cli, "N", "later@example.com", "member")
    whole = [5, 1, 2, 4, 6, 3, 7, 8, 9]

    order = ("--sort", "created_at")
    assert _ids(cli, *order, "--all") == whole
    assert _ids(cli, *order, "--descending") == whole[::-1]
    assert _paged(cli, *order, "--limit", "1") == whole
    assert _paged(cli, *order, "--descending", "--limit", "2") == whole[::-1]
    since = ("--created-since", "2024-05-01T10:00:00Z")
    assert _paged(cli, *order, *since, "--limit", "2") == whole[1:]


@pytest.mark.parametrize("direction", [(), ("--descending",)])
def test_pages_by_texts_that_are_not_canonical(
    cli: Command, database: Database, direction: tuple[str, ...]
) -> None:
    """Another program stored them: in NFD, with a tab, on two lines."""
    create_company(cli)
    names = ["Zoe\u0308", "Zoe\u0308", "Zo\u00eb", "A\tB", "A\tB", "A\nC", "\u2126"]
    with database.connect() as connection:
        for number, name in enumerate(names):
            email = f"e\u0301\t{number % 2}{number}@example.com"
            connection.execute(
                insert(users).values(name=name, email=email, role_id=1, password="!")
            )
        connection.commit()

    for sort in ("name", "email"):
        order = ("--sort", sort, *direction)
        whole = _ids(cli, *order, "--all")
        assert sorted(whole) == list(range(1, 10))
        assert _paged(cli, *order, "--limit", "1") == whole


def _paged(cli: Command, *words: str) -> list[int]:
    ids: list[int] = []
    cursor: tuple[str, ...] = ()
    while True:
        done = cli("user", "list", *words, *cursor, "-o", "json")
        ids += [user["id"] for user in done.json]
        assert done.exit_code == 0, done.stderr
        if not done.stderr:
            return ids
        assert len(ids) < 100, "the pages never end"
        cursor = ("--after", done.stderr.partition("--after ")[2].partition(",")[0])


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("Γιώργος", ["Γιώργος", "ΓΙΏΡΓΟΣ", "ργοσ", "ργος"]),
        ("ΟΔΟΣΑ", ["ΟΔΟΣΑ", "ΟΔΟΣ", "οδος", "σα"]),
        ("İstanbul", ["İstanbul", "İST", "STANBUL"]),
        ("GROẞ", ["GROẞ", "groß", "ẞ"]),
        ("Ǆ ǅ", ["Ǆ ǅ", "ǆ ǆ"]),
    ],
)
def test_a_search_where_python_and_databases_lower_differently(
    cli: Command, name: str, texts: list[str]
) -> None:
    create_company(cli)
    create_user(cli, name, "x@example.com", "member")

    assert [_ids(cli, "--search", text) for text in texts] == [[3]] * len(texts)


def test_a_search_finds_an_e_mail_as_it_was_given(cli: Command) -> None:
    create_company(cli)
    create_user(cli, "N", "ΟΔΟΣΑ.İ@example.com", "member")

    for text in ("ΟΔΟΣ", "οδοσα.", "İ@EXAMPLE", "ΟΔΟΣΑ.İ@example.com"):
        assert _ids(cli, "--search", text) == [3], text


def test_empty_lists_in_every_format(cli: Command) -> None:
    fields = "id,email"
    shown = {
        name: cli("user", "list", "--fields", fields, "-o", name).stdout
        for name in ("json", "jsonl", "csv", "tsv", "yaml")
    }
    assert shown == {
        "json": "[]\n",
        "jsonl": "",
        "csv": "id,email\n",
        "tsv": "id\temail\n",
        "yaml": "[]\n",
    }


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (["--after", "nonsense"], 2, '"nonsense" is not a cursor'),
        (["--after", "é"], 2, '"é" is not a cursor'),
        (["--after", "W10"], 2, '"W10" is not a cursor'),
        (["--all", "--after", "x"], 2, "--all and --after exclude each other"),
        (["--all", "--limit", "3"], 2, "--all and --limit exclude each other"),
        (["--sort", "password"], 2, 'users cannot be sorted by "password"'),
        (["--created-since", "yesterday"], 2, '"yesterday" is not a time'),
        (["--role", "nothing"], 3, 'no role "nothing"'),
        (["--claim", "nothing"], 3, 'no claim "nothing"'),
        (["--search", "a\x00b"], 2, 'the search text "a\\x00b" contains the control character'),
    ],
)
def test_what_is_refused(cli: Command, words: list[str], exit_code: int, message: str) -> None:
    done = cli("user", "list", *words)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert done.stderr.startswith(f"error: {message}")
    assert "\nhint: " in done.stderr


def test_a_cursor_of_another_order_is_refused(cli: Command) -> None:
    create_company(cli)
    note = cli("user", "list", "--limit", "1", "--sort", "email").stderr
    cursor = note.partition("--after ")[2].partition(",")[0]
    done = cli("user", "list", "--after", cursor)
    assert done.exit_code == 2
    assert done.stderr.startswith(f'error: the cursor "{cursor}" belongs to a list sorted by email')
