"""Every file of csv-spectrum is read to the rows that its JSON says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import PROJECT
from usermgr.formats.inputs import InputFile
from usermgr.formats.readers import Chunk, read_csv

FOLDER = PROJECT / "tests" / "data" / "csv-spectrum"
NAMES = sorted(path.stem for path in (FOLDER / "csvs").iterdir())
LINES = {"newlines": [2, 3, 5], "newlines_crlf": [2, 3, 5], "quotes_and_newlines": [2, 5]}
"""Where rows begin when cells hold line ends."""


def _chunks(path: Path) -> list[Chunk]:
    with path.open("rb") as file, InputFile(file, path.name).text() as text:
        return list(read_csv(text))


def _expected(name: str) -> list[dict[str, str]]:
    said: Any = json.loads((FOLDER / "json" / f"{name}.json").read_text(encoding="utf-8"))
    if name == "location_coordinates":
        # Its JSON is the row alone, with another number than the csv has.
        return [{**said, "Contact Phone Number": "2095257564"}]
    rows: list[dict[str, str]] = said
    return rows


def test_the_corpus_is_there() -> None:
    assert len(NAMES) == 12
    assert sorted(path.stem for path in (FOLDER / "json").iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_those_of_the_json(name: str) -> None:
    (chunk,) = _chunks(FOLDER / "csvs" / f"{name}.csv")
    expected = _expected(name)
    assert chunk.problems == []
    assert list(chunk.columns) == list(expected[0])
    cells = zip(*chunk.columns.values(), strict=True)
    assert [dict(zip(chunk.columns, row, strict=True)) for row in cells] == expected
    assert list(chunk.lines) == LINES.get(name, list(range(2, len(expected) + 2)))
