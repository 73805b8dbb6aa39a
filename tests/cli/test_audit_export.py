"""The history as JSON lines for systems that gather logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Command, Result
from tests.support.people import create_company
from tests.support.tampering import tamper
from usermgr.services.auditing import FIELDS

PASSWORD = "correct horse battery"


def _lines(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_change_with_its_operation(cli: Command) -> None:
    create_company(cli)
    cli("user", "set-password", "1", "--password-stdin", stdin=PASSWORD)
    cli("audit", "seal")
    cli("user", "disable", "1", "2")

    done = cli("audit", "export")

    assert (done.exit_code, done.stderr) == (0, "note: exported 9 lines\n")
    lines = _lines(done)
    assert [(line["operation_id"], line["change_id"], line["seal"]) for line in lines] == [
        *((number, number, 1) for number in range(1, 8)),
        *((8, number, None) for number in (8, 9)),
    ]
    shown = cli("operation", "show", "8", "-o", "json").json
    for line, change in zip(lines[-2:], shown.pop("changes"), strict=True):
        assert line == {
            **{key: value for key, value in shown.items() if key != "id"},
            "operation_id": 8,
            "seal": None,
            "change_id": change["id"],
            **{key: change[key] for key in ("entity", "entity_id", "name", "action")},
            **{key: change[key] for key in ("before", "after")},
            "erased": False,
        }
    assert tuple(lines[0]) == FIELDS
    assert "$argon2id$" not in done.stdout


def test_an_operation_without_changes_of_its_own(cli: Command) -> None:
    create_company(cli)
    people = "name,email,role\nX,x@example.com,admin\nY,y@example.com,admin\n"
    Path("people.csv").write_text(people)
    assert cli("user", "import", "people.csv").exit_code == 0

    (line,) = _lines(cli("audit", "export"))[6:]

    assert (line["command"], line["counts"]) == ("user import", {"user.create": 2})
    told = ("change_id", "entity", "entity_id", "name", "action", "before", "after", "erased")
    assert {line[key] for key in told} == {None}


def test_what_was_erased(cli: Command) -> None:
    create_company(cli)
    cli("user", "erase", "1", "--yes")
    done = cli("audit", "export", "--fields", "change_id,name,action,before,after,erased")
    lines = _lines(done)
    assert lines[4] == {
        "change_id": 5,
        "name": "",
        "action": "create",
        "before": None,
        "after": None,
        "erased": True,
    }
    assert lines[-1]["after"] == {"erased_changes": [5]}
    assert [line["erased"] for line in lines] == [False] * 4 + [True, False, False]
    assert "ana@example.com" not in done.stdout


def test_since_a_seal_nothing_is_missed(cli: Command, database_url: str) -> None:
    create_company(cli)
    cli("audit", "seal")
    cli("user", "disable", "1")
    cli("audit", "seal")
    cli("user", "disable", "2")
    # One that had begun before all others, and ended behind the first seal.
    tamper(
        database_url,
        "INSERT INTO operations (id, command, actor, source, started_at, finished_at, outcome,"
        " counts) SELECT 0, command, actor, source, started_at, finished_at, outcome, counts"
        " FROM operations WHERE id = 1",
    )

    def exported(seal: int) -> list[tuple[int, int | None]]:
        done = cli("audit", "export", "--since-seal", str(seal), "-q")
        assert (done.exit_code, done.stderr) == (0, "")
        return [(line["operation_id"], line["seal"]) for line in _lines(done)]

    assert exported(0) == [(0, None), *((number, 1) for number in range(1, 7)), (7, 2), (8, None)]
    assert exported(1) == [(0, None), (7, 2), (8, None)]
    assert exported(2) == [(0, None), (8, None)]


def test_since_a_time(cli: Command, database_url: str) -> None:
    create_company(cli)
    past = "'2020-01-01 00:00:00" + ("'" if database_url.startswith("sqlite") else "+00'")
    tamper(database_url, f"UPDATE operations SET finished_at = {past} WHERE id < 5")
    for since in ("1d", "2020-01-02", "2020-01-01T00:00:00.000001Z"):
        lines = _lines(cli("audit", "export", "--since", since))
        assert [line["operation_id"] for line in lines] == [5, 6]
    assert len(_lines(cli("audit", "export", "--since", "2020-01-01"))) == 6
    assert cli("audit", "export", "--since", "2099-01-01").stdout == ""


def test_into_a_file_that_appears_when_it_is_complete(cli: Command) -> None:
    create_company(cli)
    done = cli("audit", "export", "history.jsonl")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "note: exported 6 lines\n")
    assert Path("history.jsonl").read_text() == cli("audit", "export").stdout


@pytest.mark.parametrize("ending", ["csv", "TSV", "json", "yaml", "csv.gz"])
def test_a_name_for_another_format(cli: Command, ending: str) -> None:
    done = cli("audit", "export", f"history.{ending}")
    told = ending.lower().removesuffix(".gz")
    assert (done.exit_code, done.stdout, done.stderr) == (
        2,
        "",
        (
            f'error: "history.{ending}" is a name for {told}, and the history is always jsonl\n'
            "hint: name a file that ends with .jsonl, or - for stdout\n"
        ),
    )
    assert not Path(f"history.{ending}").exists()


@pytest.mark.parametrize("name", ["history.jsonl", "history.ndjson", "history.log", "history"])
def test_other_names_hold_json_lines(cli: Command, name: str) -> None:
    cli("role", "create", "admin")
    done = cli("audit", "export", name)
    assert (done.exit_code, done.stderr) == (0, "note: exported 1 line\n")
    assert len(Path(name).read_text().splitlines()) == 1


def test_since_a_seal_that_is_not_there(cli: Command) -> None:
    create_company(cli)
    cli("audit", "seal")
    for number in ("2", "9" * 30):
        done = cli("audit", "export", "--since-seal", number)
        assert (done.exit_code, done.stdout, done.stderr) == (
            3,
            "",
            f'error: no seal "{number}"\nhint: usermgr audit verify tells how many there are\n',
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--since", "1d", "--since-seal", "1"), "--since and --since-seal exclude each other"),
        (("--since", "yesterday"), '"yesterday" is not a time'),
        (("-o", "csv"), 'the history is not exported as "csv"'),
        (("--fields", "id"), 'unknown field "id"'),
        (("--since-seal", "-1"), 'invalid value for "--since-seal"'),
    ],
)
def test_what_cannot_be_exported(cli: Command, words: tuple[str, ...], message: str) -> None:
    done = cli("audit", "export", "file.jsonl", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert not Path("file.jsonl").exists()
