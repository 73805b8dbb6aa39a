"""What was stored is what every machine format gives back."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.commands import Command
from usermgr.formats.writers import MANY, ONE, cell, plain, split_list
from usermgr.names import canonical_name

CHARACTERS = st.characters(exclude_categories=["Cs"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(CHARACTERS, max_size=30)
    | st.datetimes(timezones=st.just(UTC))
    | st.lists(st.text(CHARACTERS, max_size=10), max_size=3).map(tuple)
)
ROWS = st.lists(st.fixed_dictionaries({"a": SCALARS, "b é": SCALARS}), max_size=5)
FIELDS = ("a", "b é")
TEXT_ROWS = st.lists(
    st.fixed_dictionaries({field: st.text(CHARACTERS, max_size=30) for field in FIELDS}), max_size=5
)


def _written(name: str, rows: list[dict[str, object]]) -> str:
    out = io.StringIO(newline="")
    MANY[name](out, FIELDS, rows)
    return out.getvalue()


@given(ROWS)
def test_json(rows: list[dict[str, object]]) -> None:
    assert json.loads(_written("json", rows)) == plain(rows)


@given(ROWS)
def test_jsonl(rows: list[dict[str, object]]) -> None:
    lines = _written("jsonl", rows).split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == plain(rows)


@given(ROWS)
def test_yaml(rows: list[dict[str, object]]) -> None:
    assert yaml.safe_load(_written("yaml", rows)) == plain(rows)


@given(TEXT_ROWS)
def test_csv(rows: list[dict[str, str]]) -> None:
    text = _written("csv", rows)  # type: ignore[arg-type]
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read == [list(FIELDS), *([row[f] for f in FIELDS] for row in rows)]


@given(TEXT_ROWS)
def test_tsv(rows: list[dict[str, str]]) -> None:
    text = _written("tsv", rows)  # type: ignore[arg-type]
    lines = text.split("\n")
    assert lines.pop() == ""
    meaning = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}

    def unescaped(cell: str) -> str:
        return re.sub(r"\\[\\tnr]", lambda found: meaning[found[0]], cell)

    read = [[unescaped(cell) for cell in line.split("\t")] for line in lines]
    assert read == [list(FIELDS), *([row[f] for f in FIELDS] for row in rows)]


@given(st.lists(st.text("a;\\\n é", min_size=1, max_size=5), max_size=4))
def test_a_list_in_a_cell(items: list[str]) -> None:
    assert split_list(cell(items)) == items


@pytest.mark.parametrize(
    ("written", "items"),
    [("a\\", ["a\\"]), ("a\\;b;;c", ["a;b", "c"]), ("\\a;\\", ["a", "\\"]), (";", [])],
)
def test_a_list_as_people_write_it(written: str, items: list[str]) -> None:
    assert split_list(written) == items


@given(st.fixed_dictionaries({"a": SCALARS, "b é": SCALARS}))
def test_one(row: dict[str, object]) -> None:
    for name, read in (("json", json.loads), ("yaml", yaml.safe_load), ("jsonl", json.loads)):
        out = io.StringIO(newline="")
        ONE[name](out, FIELDS, row)
        assert read(out.getvalue()) == plain(row)


@given(st.text(max_size=250))
def test_a_name_is_canonical_or_refused(text: str) -> None:
    from usermgr.errors import InvalidInput

    try:
        name = canonical_name(text, "name")
    except InvalidInput:
        return
    assert canonical_name(name, "name") == name
    assert 1 <= len(name) <= 200
    assert name == name.strip()


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60).filter(
    lambda text: text.strip() != ""
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(NAMES, min_size=1, max_size=4))
def test_names_through_the_database(cli: Command, names: list[str]) -> None:
    cli("role", "create", "member", "--if-not-exists")
    for user in cli("user", "list", "-o", "json").json:
        cli("user", "delete", str(user["id"]), "--yes")
    for number, name in enumerate(names):
        done = cli(
            *("user", "create", f"--name={name}", "--email", f"p{number}@example.com"),
            *("--role", "member", "--no-password"),
        )
        assert (done.exit_code, done.stderr) == (0, "")
    expected = [canonical_name(name, "name") for name in names]
    listed = cli("user", "list", "--fields", "name", "-o", "json").json
    assert [user["name"] for user in listed] == expected
