"""Every change belongs to an operation, with its images before and after."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import text

from tests.support.commands import Command
from tests.support.databases import open_database
from tests.support.people import create_company, create_user


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    create_company(cli)


def test_an_operation_tells_who_what_and_when(cli: Command) -> None:
    cli("user", "grant", "1", "reports:export")
    newest = cli("operation", "list", "--limit", "1", "-o", "json")
    (listed,) = newest.json
    assert (listed["command"], listed["actor"], listed["source"], listed["outcome"]) == (
        *("user grant", "tester", "cli"),
        "ok",
    )
    assert listed["counts"] == {"user.grant": 1}
    assert listed["started_at"] <= listed["finished_at"]
    shown = cli("operation", "show", str(listed["id"]), "-o", "json").json
    (change,) = shown.pop("changes")
    assert shown == listed
    assert (change["entity"], change["entity_id"], change["name"], change["action"]) == (
        *("user", 1, "ana@example.com"),
        "grant",
    )
    assert change["changed"] == "+reports:export"
    assert change["before"]["claims"] == ["reports:read"]
    shown = cli("user", "show", "1", "-o", "json").json
    assert {**shown, "grants": change["after"]["grants"]} == change["after"]


def test_lists_are_cut_and_continue(cli: Command) -> None:
    every = [o["id"] for o in cli("operation", "list", "-o", "json").json]
    assert every == sorted(every, reverse=True)
    assert len(every) == 6
    first = cli("operation", "list", "--limit", "4", "--fields", "id")
    assert first.stderr == (
        f"note: 4 of 6 operations are shown; the older ones: --before {every[3]}\n"
    )
    rest = cli("operation", "list", "--before", str(every[3]), "-o", "json")
    assert ([o["id"] for o in rest.json], rest.stderr) == (every[4:], "")


def test_the_history_of_a_user(cli: Command) -> None:
    cli("user", "update", "1", "--name", "Ana S", "--email", "ana.s@example.com")
    cli("user", "disable", "1")
    cli("user", "set-password", "1", "--password-stdin", stdin="correct horse battery")
    cli("user", "delete", "1", "--yes")
    history = cli("user", "history", "1", "-o", "json").json
    assert [(c["action"], c["name"], c["changed"]) for c in history] == [
        ("create", "ana@example.com", ""),
        (
            "update",
            "ana@example.com",
            "name: Ana Souza -> Ana S, email: ana@example.com -> ana.s@example.com",
        ),
        ("update", "ana.s@example.com", "active: true -> false"),
        ("set-password", "ana.s@example.com", "has_password: false -> true"),
        ("delete", "ana.s@example.com", ""),
    ]
    assert {c["actor"] for c in history} == {"tester"}
    for former in ("ana@example.com", "ANA.S@example.com"):
        assert cli("user", "history", former, "-o", "json").json == history


def test_what_a_change_was_before_is_what_it_was_after_the_one_before(cli: Command) -> None:
    for words in (["grant", "1", "2"], ["revoke", "1", "1"], ["disable", "1"]):
        cli("user", *words)
    history = cli("user", "history", "1", "-o", "json").json
    for earlier, later in itertools.pairwise(history):
        assert later["before"] == earlier["after"]
    assert [c["after"]["version"] for c in history] == [1, 2, 3, 4]


def test_a_command_that_fails_or_changes_nothing_leaves_no_operation(cli: Command) -> None:
    before = cli("operation", "list").stdout
    cli("user", "update", "1", "--name", "Ana Souza")
    cli("user", "grant", "1", "nothing")
    cli("role", "create", "admin")
    cli("user", "create", "--name", "X", "--email", "ana@example.com", "--role", "admin")
    assert cli("operation", "list").stdout == before


def test_users_carry_the_operation_that_created_them(cli: Command, database_url: str) -> None:
    query = text(
        "SELECT count(*) FROM users u JOIN changes c ON c.entity = 'user' "
        "AND c.entity_id = u.id AND c.action = 'create' AND c.operation_id = u.created_in"
    )
    with open_database(database_url).connect() as connection:
        assert connection.execute(query).scalar_one() == 2


def test_the_history_of_users_created_together(cli: Command) -> None:
    cli("seed", "--users", "2", "-q")
    history = cli("user", "history", "3", "-o", "json").json
    assert [(c["action"], c["command"], c["after"]) for c in history] == [("create", "seed", None)]


def test_users_created_together_keep_their_creation(cli: Command) -> None:
    """Also when they are gone, and under every e-mail they had."""
    cli("seed", "--users", "1", "-q")
    first = cli("user", "show", "3", "-o", "json").json["email"]
    for email in ("second@example.com", "third@example.com"):
        cli("user", "update", "3", "--email", email)
    told = [
        ("create", first, "seed"),
        ("update", first, "user update"),
        ("update", "second@example.com", "user update"),
    ]
    assert _told(cli, "3") == told

    cli("user", "delete", "3", "--yes")

    told.append(("delete", "third@example.com", "user delete"))
    for reference in ("3", first, "second@example.com", "third@example.com"):
        assert _told(cli, reference) == told
    shown = cli("user", "history", "3", "-o", "json").json
    operation = cli("operation", "show", str(shown[0]["operation_id"]), "-o", "json").json
    assert operation["command"] == "seed"
    assert shown[3]["before"]["created_in"] == operation["id"]


def test_an_e_mail_that_two_users_had(cli: Command) -> None:
    cli("seed", "--users", "1", "-q")
    email = cli("user", "show", "3", "-o", "json").json["email"]
    cli("user", "delete", "3", "--yes")
    create_user(cli, "Another", email, "member")
    cli("user", "delete", "4", "--yes")
    cli("seed", "--users", "1", "-q")

    assert [(action, command) for action, _, command in _told(cli, email)] == [
        ("create", "seed"),
        ("delete", "user delete"),
        ("create", "user create"),
        ("delete", "user delete"),
        ("create", "seed"),
    ]


def test_a_user_whom_another_program_stored_has_no_creation(
    cli: Command, database_url: str
) -> None:
    with open_database(database_url).connect() as connection:
        connection.execute(
            text("INSERT INTO users (name, email, role_id) VALUES ('X', 'x@example.com', 2)")
        )
        connection.commit()
    assert cli("user", "history", "3", "-o", "json").stdout == "[]\n"

    cli("user", "delete", "3", "--yes")

    assert _told(cli, "x@example.com") == [("delete", "x@example.com", "user delete")]


def _told(cli: Command, reference: str) -> list[tuple[str, str, str]]:
    history = cli("user", "history", reference, "-o", "json").json
    return [(change["action"], change["name"], change["command"]) for change in history]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["user", "history", "nobody@example.com"], 'no user "nobody@example.com"'),
        (["user", "history", "99"], 'no user "99"'),
        (["operation", "show", "99999"], 'no operation "99999"'),
        (["operation", "show", "abc"], 'no operation "abc"'),
    ],
)
def test_what_does_not_exist(cli: Command, words: list[str], message: str) -> None:
    done = cli(*words)
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith(f"error: {message}\nhint: ")


def test_an_operation_as_a_table_has_a_line_for_each_change(cli: Command) -> None:
    cli("claim", "disable", "reports:read", "reports:export")
    operation = cli("operation", "list", "--limit", "1", "-o", "json").json[0]["id"]

    shown = cli("operation", "show", str(operation), "--fields", "id,changes", "-o", "table")

    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout == (
        f"id       {operation}\n"
        'changes  update claim 1 "reports:read": active: true -> false\n'
        '         update claim 2 "reports:export": active: true -> false\n'
    )
