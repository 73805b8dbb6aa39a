"""enable, disable, delete, grant, revoke and set-role of all users that are selected."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Command, Result, run_inside
from tests.support.consistency import broken_promises
from tests.support.people import create_company, create_user

SELECTING = "--where-role, --where-claim, --search, --active, --inactive or --from"
NAME_OR_SELECT = f"name users, or select them with {SELECTING}"
BOTH = f"leave out the users, or {SELECTING}"
UNSET = "a variable of the shell may be unset"
ROLES = "usermgr role list shows them, usermgr role create makes one"
CLAIMS = "usermgr claim list shows them, usermgr claim create makes one"


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    """Ana (admin, reports:read), Bruno, Caio (inactive) and Eva (reports:read): members."""
    _create(cli)


def _create(cli: Command) -> None:
    create_company(cli)
    create_user(cli, "Caio Nunes", "caio@example.com", "member", "--inactive")
    create_user(cli, "Eva Nunes", "eva@example.com", "member", "--claim", "reports:read")


def _users(cli: Command) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = cli("user", "list", "-o", "json").json
    return listed


def _state(cli: Command) -> list[str]:
    return [cli(*line, "-o", "jsonl").stdout for line in (("user", "list"), ("operation", "list"))]


def _newest(cli: Command) -> dict[str, Any]:
    newest = cli("operation", "list", "--limit", "1", "-o", "json").json[0]
    shown: dict[str, Any] = cli("operation", "show", str(newest["id"]), "-o", "json").json
    return shown


VERBS: dict[str, tuple[tuple[str, ...], dict[str, int], list[int]]] = {
    "disable": (("disable",), {"user.update": 2}, [2, 4]),
    "enable": (("enable",), {"user.update": 1}, [3]),
    "delete": (("delete", "--yes"), {"user.delete": 3}, [2, 3, 4]),
    "grant": (("grant", "reports:read"), {"user.grant": 2}, [2, 3]),
    "grant two": (("grant", "reports:export", "REPORTS:READ"), {"user.grant": 3}, [2, 3, 4]),
    "grant until": (
        ("grant", "reports:read", "--reason", "audit", "--expires", "2999-01-31"),
        *({"user.grant": 3}, [2, 3, 4]),
    ),
    "revoke": (("revoke", "2", "reports:read"), {"user.revoke": 1}, [4]),
    "set-role": (("set-role", "ADMIN"), {"user.update": 3}, [2, 3, 4]),
}
SINGLE = ("grant", "revoke")


@pytest.mark.parametrize("verb", VERBS)
def test_who_is_selected_is_changed_and_nobody_else(
    cli: Command, database_url: str, verb: str
) -> None:
    words, counts, changed = VERBS[verb]
    before = {user["id"]: user for user in _users(cli)}

    done = cli("user", *words, "--where-role", "member", "-o", "json")

    operation = _newest(cli)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.json == {
        "matched": 3,
        "changed": len(changed),
        "unchanged": 3 - len(changed),
        "dry_run": False,
        "operation_id": operation["id"],
    }
    assert (operation["command"], operation["counts"]) == (f"user {words[0]}", counts)
    assert [change["entity_id"] for change in operation["changes"]] == changed
    after = {user["id"]: user for user in _users(cli)}
    assert {i for i in before if after.get(i) != before[i]} == set(changed)
    for change in operation["changes"]:
        user_id = change["entity_id"]
        assert change["name"] == before[user_id]["email"]
        assert {**change["before"], **before[user_id]} == change["before"]
        if verb != "delete":
            assert {**change["after"], **after[user_id]} == change["after"]
            assert after[user_id]["version"] == before[user_id]["version"] + 1
            assert after[user_id]["updated_at"] == operation["started_at"]
    assert broken_promises(database_url) == {}


@pytest.mark.parametrize("verb", VERBS)
def test_one_user_is_changed_and_recorded_as_by_the_single_command(
    cli: Command, other_database_url: str, verb: str
) -> None:
    words, _, changed = VERBS[verb]
    first, *others = words
    named = str(changed[-1])

    def other(*line: str, stdin: str | bytes = "", env: Mapping[str, str] | None = None) -> Result:
        return run_inside(line, stdin, {"USERMGR_DATABASE_URL": other_database_url, **(env or {})})

    _create(other)
    bulk = other("user", *words, "--from", "-", stdin=named)
    single = cli("user", first, *([named, *others] if first in SINGLE else [*others, named]))

    assert (single.exit_code, bulk.exit_code) == (0, 0)
    (alone,) = _newest(cli)["changes"]
    (among,) = _newest(other)["changes"]
    for told in ("entity", "entity_id", "name", "action", "changed"):
        assert alone[told] == among[told]
    for image in ("before", "after"):
        assert _timeless(alone[image]) == _timeless(among[image])
    assert [_timeless(user) for user in _users(other)] == [_timeless(user) for user in _users(cli)]


def _timeless(image: dict[str, Any] | None) -> dict[str, Any] | None:
    return image and {k: v for k, v in image.items() if k not in ("created_at", "updated_at")}


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_and_a_second_time_change_nothing(cli: Command, verb: str) -> None:
    words = tuple(word for word in VERBS[verb][0] if word != "--yes")
    before = _state(cli)

    dry = cli("user", *words, "--where-role", "member", "--dry-run", "-o", "json")

    assert (dry.exit_code, dry.stderr, _state(cli)) == (0, "", before)
    real = cli("user", *words, "--where-role", "member", "--yes", "-o", "json")
    assert real.json | {"dry_run": True, "operation_id": None} == dry.json

    before = _state(cli)
    again = cli("user", *words, "--where-role", "member", "--yes", "-o", "json")
    assert (again.exit_code, again.stderr) == (0, "")
    assert (again.json["changed"], again.json["operation_id"]) == (0, None)
    assert _state(cli) == before


def test_a_dry_run_of_users_that_are_named(cli: Command) -> None:
    before = _state(cli)
    for words in (("disable", "1", "CAIO@example.com", "1"), ("delete", "1", "3")):
        done = cli("user", *words, "--dry-run", "-o", "json")
        assert (done.exit_code, done.stderr, done.json["matched"]) == (0, "", 2)
    granted = cli("user", "grant", "2", "reports:read", "--dry-run")
    assert granted.stdout == (
        "matched\tchanged\tunchanged\tdry_run\toperation_id\n1\t1\t0\ttrue\t\n"
    )
    missing = cli("user", "disable", "1", "nobody@example.com", "--dry-run")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert missing.stderr.startswith('error: no user "nobody@example.com"\nhint: ')
    assert _state(cli) == before


@pytest.mark.parametrize(
    ("options", "matched"),
    [
        (("--where-claim", "reports:read"), [1, 4]),
        (("--where-claim", "1", "--where-claim", "2"), []),
        (("--search", "NUNES"), [3, 4]),
        (("--inactive",), [3]),
        (("--active",), [1, 2, 4]),
        (("--where-role", "2", "--search", "nunes", "--active"), [4]),
        (("--where-role", "member", "--where-claim", "reports:read"), [4]),
    ],
    ids=str,
)
def test_selections(cli: Command, options: tuple[str, ...], matched: list[int]) -> None:
    done = cli("user", "delete", *options, "--yes", "-o", "json")
    assert (done.exit_code, done.json["matched"]) == (0, len(matched))
    assert {user["id"] for user in _users(cli)} == {1, 2, 3, 4} - set(matched)


def test_a_grant_that_has_expired_is_granted_anew(cli: Command, database_url: str) -> None:
    from sqlalchemy import text

    from tests.support.databases import open_database

    database = open_database(database_url)
    with database.connect() as connection:
        connection.execute(
            text("UPDATE user_claims SET expires_at = '2001-01-01 00:00:00', reason = 'x'")
        )
        connection.commit()
    database.engine.dispose()

    done = cli("user", "grant", "reports:read", "--where-role", "member", "-o", "json")

    assert (done.exit_code, done.json["changed"]) == (0, 3)
    assert [user["claims"] for user in _users(cli)] == [[], *[["reports:read"]] * 3]


def test_a_grant_gets_the_reason_and_the_end_that_are_given(cli: Command) -> None:
    """And keeps what is not given."""
    words = ("user", "grant", "reports:read", "--where-role", "member")
    assert cli(*words, "--reason", "audit").exit_code == 0
    assert cli(*words, "--expires", "2999-01-31").exit_code == 0

    def grants() -> list[dict[str, Any]]:
        return [change["after"]["grants"][0] for change in _newest(cli)["changes"]]

    until = {"reason": "audit", "expires_at": "2999-01-31T00:00:00.000000Z"}
    assert [grant | until for grant in grants()] == grants()
    assert cli(*words, "--reason", "audit", "--expires", "2999-01-31T01:00:00+01:00").exit_code == 0
    assert cli("operation", "list", "-o", "json").json[0]["command"] == "user grant"
    unchanged = cli(*words, "-o", "json")
    assert (unchanged.json["changed"], unchanged.json["unchanged"]) == (0, 3)
    assert cli(*words, "--expires", "never").exit_code == 0
    never = {"reason": "audit", "expires_at": None}
    assert len(grants()) == 3
    assert [grant | never for grant in grants()] == grants()
    done = cli(*words, "--reason", "two\nlines")
    assert (done.exit_code, done.stdout) == (2, "")


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("words", "status", "message", "hint"),
    [
        (("disable",), 2, "no user was named or selected", NAME_OR_SELECT),
        (("delete", "--yes"), 2, "no user was named or selected", NAME_OR_SELECT),
        (("set-role", "admin"), 2, "no user was named or selected", NAME_OR_SELECT),
        (
            *(("grant", "1"), 2, "no claim was named"),
            f"name the user and the claims, or select users with {SELECTING}",
        ),
        (("grant", "--where-role", "admin"), 2, "no claim was named", None),
        (("revoke", "", "2", "--where-role", "admin"), 2, "the claim is empty", UNSET),
        (("disable", "1", "--where-role", "1"), 2, "users are named and selected at once", BOTH),
        (("disable", "1", "--inactive"), 2, "users are named and selected at once", BOTH),
        (("disable", "--search", " "), 2, "the search text is empty", UNSET),
        (("delete", "--search", "", "--yes"), 2, "the search text is empty", UNSET),
        (("disable", "--where-role", ""), 2, "the role is empty", UNSET),
        (("disable", "--where-claim", ""), 2, "the claim is empty", UNSET),
        (
            *(("disable", "--from", ""), 2, "no file was named"),
            "name one after --from, or - for stdin",
        ),
        (
            *(("disable", "--from", "x.txt", "--active"), 2),
            *("--from excludes the options that filter", "leave one of them out"),
        ),
        (
            *(("disable", "--from", "x.txt"), 2),
            *('"x.txt" cannot be read: No such file or directory', None),
        ),
        (("disable", "--where-role", "none"), 3, 'no role "none"', ROLES),
        (("disable", "--where-claim", "none"), 3, 'no claim "none"', CLAIMS),
        (("set-role", "none", "--where-role", "admin"), 3, 'no role "none"', ROLES),
        (("set-role", "none", "1"), 3, 'no role "none"', ROLES),
        (("grant", "none", "--where-role", "admin"), 3, 'no claim "none"', CLAIMS),
        (
            *(("disable", "--active", "--fields", "email"), 2, 'unknown field "email"'),
            "the fields are matched, changed, unchanged, dry_run, operation_id",
        ),
    ],
)
def test_what_is_refused(
    cli: Command, words: tuple[str, ...], status: int, message: str, hint: str | None
) -> None:
    before = _state(cli)
    done = cli("user", *words)
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr == f"error: {message}\n" + (f"hint: {hint}\n" if hint else "")
    assert _state(cli) == before


def test_set_role_of_users_that_are_named(cli: Command) -> None:
    done = cli("user", "set-role", "admin", "eva@example.com", "1", "4", "-o", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [(user["id"], user["role"], user["version"]) for user in done.json] == [
        (4, "admin", 2),
        (1, "admin", 1),
    ]
    assert _newest(cli)["counts"] == {"user.update": 1}


LISTED = (
    "# Who leaves\n\n  2 \r\nEVA@Example.com\n\n   # not: ana@example.com\neva@example.com\n4\n3"
)


@pytest.mark.parametrize("way", ["file", "gzip", "byte-order mark", "stdin"])
def test_users_from_a_file(cli: Command, database_url: str, way: str) -> None:
    content = LISTED.encode()
    name, stdin = "leave.txt", b""
    if way == "gzip":
        content = gzip.compress(content)
    elif way == "byte-order mark":
        content = b"\xef\xbb\xbf" + content
    if way == "stdin":
        name, stdin = "-", content
    else:
        Path(name).write_bytes(content)

    done = cli("user", "disable", "--from", name, "-o", "json", stdin=stdin)

    assert (done.exit_code, done.stderr) == (0, "")
    assert (done.json["matched"], done.json["changed"], done.json["unchanged"]) == (3, 2, 1)
    assert [user["active"] for user in _users(cli)] == [True, False, False, False]
    assert broken_promises(database_url) == {}


def test_lines_that_name_nobody_are_told_and_nothing_is_done(cli: Command) -> None:
    before = _state(cli)
    done = cli("user", "delete", "--from", "-", "--yes", stdin="1\nnobody@example.com\n")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == (
        'error: 1 line of "stdin" names nobody; nothing was changed\n'
        '  line 2: no user "nobody@example.com"\n'
        "hint: a user is named by id or e-mail; usermgr user list --search TEXT finds them\n"
    )

    bad = [
        "# head",
        "1",
        "99",
        "not an address",
        "99999999999999999999",
        *(f"x{n}" for n in range(20)),
    ]
    Path("bad.txt").write_text("\n".join(bad))
    done = cli("user", "disable", "--from", "bad.txt", "-o", "json")
    assert (done.exit_code, done.stdout) == (3, "")
    assert (
        '23 lines of \\"bad.txt\\" name nobody; nothing was changed\\n  line 3: no user \\"99\\"'
        in done.stderr
    )
    assert 'line 5: no user \\"99999999999999999999\\"' in done.stderr
    assert "line 12: " in done.stderr
    assert "line 13: " not in done.stderr
    assert "\\n  and 13 more" in done.stderr
    assert '"number": 23' in done.stderr
    assert _state(cli) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1\n\xff\xfe@example.com\n2\n", 'line 2 of "bad.txt": '),
        (b"1\n2\na\0b\n", 'line 3 of "bad.txt": '),
        (b"1\n\n" + b"x" * 300_000, 'line 3 of "bad.txt" is too long'),
    ],
)
def test_lines_that_cannot_be_read_are_told(cli: Command, content: bytes, message: str) -> None:
    before = _state(cli)
    Path("bad.txt").write_bytes(content)
    done = cli("user", "disable", "--from", "bad.txt")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert _state(cli) == before


def test_a_file_without_users_changes_nothing(cli: Command) -> None:
    done = cli("user", "delete", "--from", "-", stdin="# nobody\n", env={"USERMGR_OUTPUT": "csv"})
    assert (done.exit_code, done.stdout, done.stderr) == (
        *(0, "matched,changed,unchanged,dry_run,operation_id\n0,0,0,false,\n"),
        "",
    )


def test_the_report_is_silenced_by_quiet(cli: Command) -> None:
    done = cli("user", "disable", "--where-role", "member", "-q")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "words",
    [
        ("disable", "--where-role", "admin"),
        ("delete", "--search", "a", "--yes"),
        ("set-role", "member", "--active"),
        ("set-role", "member", "--from", "-"),
    ],
    ids=" ".join,
)
def test_the_last_active_user_of_a_protected_role_stays(
    cli: Command, words: tuple[str, ...]
) -> None:
    create_user(cli, "Old", "old@example.com", "admin", "--inactive")
    assert cli("role", "protect", "admin").exit_code == 0
    before = _state(cli)
    for more in ((), ("--dry-run",)):
        done = cli("user", *words, *more, stdin="1\n2\nold@example.com\n")
        assert (done.exit_code, done.stdout) == (7, "")
        assert done.stderr.startswith(
            'error: no active user would be left with the protected role "admin"\nhint: '
        )
    assert _state(cli) == before


@pytest.mark.parametrize("words", [("revoke", "reports:read"), ("disable",), ("delete", "--yes")])
def test_the_last_active_holder_of_a_protected_claim_stays(
    cli: Command, words: tuple[str, ...]
) -> None:
    assert cli("claim", "protect", "reports:read").exit_code == 0
    done = cli("user", *words, "--where-claim", "reports:read")
    assert (done.exit_code, done.stdout) == (7, "")
    assert 'the protected claim "reports:read"' in done.stderr
    assert (
        cli("user", *words, "--where-claim", "reports:read", "--where-role", "member").exit_code
        == 0
    )
