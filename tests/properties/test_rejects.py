"""The reject file holds the bad rows as they were, but for their passwords; also when fed again."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from usermgr.formats.inputs import InputFile
from usermgr.formats.readers import Problem
from usermgr.formats.writers import MANY
from usermgr.services.import_source import ImportSource
from usermgr.services.rejects import write_rejects
from usermgr.services.rows import RowRules

SECRET = "correct horse battery"
FORMATS = st.sampled_from(["csv", "tsv", "jsonl", "json"])
CELLS = st.text(st.sampled_from("a;,\"'\\#\t\n\r\u2028\x00é"), max_size=5) | st.text(max_size=5)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "name": CELLS,
            "email": CELLS | st.just("good@example.com"),
            "role": st.just("member"),
            "password": st.just(SECRET),
        }
    ),
    min_size=1,
    max_size=6,
)


@contextlib.contextmanager
def opened(content: str, format_name: str, *lacking: str) -> Iterator[ImportSource]:
    with tempfile.TemporaryFile() as file:
        file.write(content.encode())
        file.seek(0)
        rules = RowRules(password_min_length=8, may_lack=frozenset(lacking))
        yield ImportSource(InputFile(file, "x"), rules, format_name=format_name)


def rejected(source: ImportSource) -> tuple[list[Problem], str]:
    """What is wrong with the rows, and their reject file."""
    source.rehearse()
    problems = [problem for rows in source.rows() for problem in sorted(rows.problems)]
    out = io.StringIO(newline="")
    write_rejects(out, source, problems)
    return problems, out.getvalue()


def read(source: ImportSource) -> list[dict[str, Any]]:
    """The rows as they stand in the file."""
    rows = []
    for chunk in source.chunks():
        assert chunk.problems == []
        columns = zip(*chunk.columns.values(), strict=True)
        rows += [dict(zip(chunk.columns, row, strict=True)) for row in columns]
    return rows


@given(ROWS, FORMATS)
def test_what_is_rejected_is_what_was_given(rows: list[dict[str, str]], format_name: str) -> None:
    out = io.StringIO(newline="")
    MANY[format_name](out, list(rows[0]), rows)
    with opened(out.getvalue(), format_name) as source:
        lines = [line for chunk in source.chunks() for line in chunk.lines]
        problems, text = rejected(source)
    assert SECRET not in text
    bad = [rows[lines.index(problem.line)] for problem in problems]
    with opened(text, format_name) as source:
        kept = read(source) if problems else []
        again, same = rejected(source)
    for row, given_row, problem in zip(kept, bad, problems, strict=True):
        assert (int(row.pop("line")), row.pop("reason")) == (problem.line, problem.reason)
        assert not row.pop("password", None)
        assert row == {key: value for key, value in given_row.items() if key != "password"}
    # Nobody has corrected them: they are rejected once more, for the same reasons.
    assert [problem.reason for problem in again] == [problem.reason for problem in problems]
    with opened(same, format_name) as source:
        once_more = read(source) if problems else []
    for row in once_more:
        for name in ("line", "reason", "password"):
            row.pop(name, None)
    assert once_more == kept


@given(
    st.lists(st.lists(CELLS, max_size=4), min_size=1, max_size=4), st.sampled_from(["csv", "tsv"])
)
def test_ragged_rows_keep_their_cells(rows: list[list[str]], format_name: str) -> None:
    ragged = [row for row in rows if len(row) != 2 and any(map(str.strip, row))]
    out = io.StringIO(newline="")
    MANY[format_name](out, ["name", "email"], [])
    for row in ragged:
        fields = list(map(str, range(len(row))))
        line = io.StringIO(newline="")
        MANY[format_name](line, fields, [dict(zip(fields, row, strict=True))])
        out.write(line.getvalue().partition("\n")[2])
    text = out.getvalue()
    for _ in range(3):
        with opened(text, format_name, "role") as source:
            problems, text = rejected(source)
        with opened(text, format_name) as source:
            found = [problem.row for chunk in source.chunks() for problem in chunk.problems]
        assert len(problems) == len(ragged)
        assert [row[2:] for row in found if row] == ragged
