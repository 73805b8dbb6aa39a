"""Readers: every cell as it was written, every row with its line, in chunks of any size."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermgr.errors import InvalidInput
from usermgr.formats import inputs, json_readers, readers
from usermgr.formats.inputs import BLOCK, InputFile, InputText
from usermgr.formats.json_readers import read_json, read_jsonl
from usermgr.formats.readers import (
    CHUNK_BYTES,
    CHUNK_ROWS,
    COLUMNS_MAX,
    STEP,
    Chunk,
    Problem,
    read_csv,
    read_tsv,
    recognise_format,
)

Read = Callable[[InputText], Iterator[Chunk]]

ENDS = st.sampled_from(["\n", "\r\n", "\r"])
TEXTS = st.text(st.sampled_from("aé😀\u2028\x85\x0b,;\"'\\#t n\t\n\r"), max_size=8)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])


@dataclass
class Document:
    """A text, and what stands in it: the line and the content of its rows, good and bad."""

    text: str = ""
    good: list[tuple[int, Any]] = field(default_factory=list)
    bad: list[tuple[int, Any]] = field(default_factory=list)

    @property
    def line(self) -> int:
        """The line on which what is written next begins."""
        return 1 + self.text.replace("\r\n", "\n").replace("\r", "\n").count("\n")


SIZES = st.fixed_dictionaries(
    {
        **dict.fromkeys(
            ("STEP", "OBJECT_STEP", "CHUNK_ROWS", "CHUNK_BYTES", "_READ"), st.integers(1, 40)
        ),
        "BLOCK": st.integers(4, 40),
    }
)
"""Limits so small that chunks, windows and blocks end everywhere."""


@st.composite
def tables(draw: st.DrawFn, separator: str, encode: Callable[[str, bool], str]) -> Document:
    """Two columns, rows with too few and too many cells, empty lines, comments above."""
    made = Document()
    for comment in draw(st.lists(st.text("a\"',\t", max_size=4), max_size=2)):
        made.text += f"#{comment}{draw(ENDS)}"
    made.text += f"{encode('name', False)}{separator}{encode('note', draw(st.booleans()))}"
    for cells in draw(st.lists(st.lists(TEXTS, max_size=3), max_size=12)):
        made.text += draw(ENDS)
        row = separator.join(encode(cell, draw(st.booleans())) for cell in cells)
        if any(cells) if len(cells) == 2 else any(map(str.strip, cells)):
            (made.good if len(cells) == 2 else made.bad).append((made.line, cells))
        made.text += row
    made.text += draw(ENDS | st.just(""))
    return made


def csv_cell(text: str, quoted: bool) -> str:
    """RFC 4180, with quotes where they are needed and where they are not."""
    if quoted or not text or set(text) & set(',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def tsv_cell(text: str, _quoted: bool) -> str:
    for character, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(character, escape)
    return text


VALUES = st.none() | st.booleans() | st.integers() | TEXTS | st.lists(TEXTS, max_size=2)
OBJECTS = st.dictionaries(st.sampled_from(["name", "note", "é\n"]), VALUES, min_size=1)
OTHERS = st.none() | st.integers(-999, 10**12) | st.floats(0, 1) | TEXTS | st.lists(OBJECTS)
SPACES = st.lists(st.sampled_from(["", " ", "\t", "\n", "\r\n", "\r"]), max_size=3).map("".join)


@st.composite
def json_lines(draw: st.DrawFn) -> Document:
    """Objects, other values, damaged ones, comments and empty lines."""
    made = Document()
    for value in draw(st.lists(OBJECTS | OTHERS | st.sampled_from([..., "# x", "  "]), max_size=9)):
        if isinstance(value, str) and value in ("# x", "  "):
            made.text += value
        else:
            (made.good if isinstance(value, dict) else made.bad).append((made.line, value))
            text = '{"name": ' if value is ... else json.dumps(value, ensure_ascii=False)
            made.text += draw(st.sampled_from(["", " "])) + text
        made.text += draw(ENDS)
    return made


@st.composite
def json_arrays(draw: st.DrawFn) -> Document:
    """An array on one line, or with line ends wherever they may stand."""
    made = Document(draw(SPACES) + "[" + draw(SPACES))
    for number, value in enumerate(draw(st.lists(OBJECTS | OTHERS, max_size=6))):
        made.text += draw(SPACES) + "," + draw(SPACES) if number else ""
        (made.good if isinstance(value, dict) else made.bad).append((made.line, value))
        text = json.dumps(value, ensure_ascii=False, indent=draw(st.sampled_from([None, 1])))
        made.text += text.replace("\n", draw(ENDS))
    made.text += draw(SPACES) + "]" + draw(SPACES)
    return made


@contextlib.contextmanager
def limited(sizes: dict[str, int]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name, size in sizes.items():
            defining = next(m for m in (inputs, readers, json_readers) if hasattr(m, name))
            stack.enter_context(patch.object(defining, name, size))
        yield


@contextlib.contextmanager
def opened(content: bytes, *, lines: bool = True) -> Iterator[InputText]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        with InputFile(file, "x").text(lines=lines) as text:
            yield text


def check(read: Read, document: Document, encoding: str, sizes: dict[str, int]) -> None:
    """What is read is what was written, on its lines; and no two rows are taken for one."""
    good: list[tuple[int, dict[str, Any]]] = []
    bad: list[Problem] = []
    numbers: list[int] = []
    content = document.text.encode(encoding)
    with limited(sizes), opened(content, lines=read is not read_json) as text:
        for chunk in read(text):
            assert {len(column) for column in chunk.columns.values()} <= {len(chunk.lines)}
            rows = zip(*chunk.columns.values(), strict=True)
            for line, number, row in zip(
                chunk.lines, chunk.numbers, rows, strict=bool(chunk.columns)
            ):
                good.append((line, dict(zip(chunk.columns, row, strict=True))))
                numbers.append(number)
            bad += chunk.problems
    for told in (numbers, [problem.number for problem in bad]):
        assert told == sorted(set(told))
    assert not set(numbers) & {problem.number for problem in bad}
    assert [line for line, _ in good] == [line for line, _ in document.good]
    assert [problem.line for problem in bad] == [line for line, _ in document.bad]
    if read in (read_csv, read_tsv):
        assert [[*row.values()] for _, row in good] == [cells for _, cells in document.good]
        assert [problem.row for problem in bad] == [cells for _, cells in document.bad]
    else:
        assert [_held(row) for _, row in good] == [_held(row) for _, row in document.good]


def _held(row: dict[str, Any]) -> dict[str, Any]:
    """Without what is null: as good as missing."""
    return {key: value for key, value in row.items() if value is not None}


@given(tables(",", csv_cell), ENCODINGS, SIZES)
def test_csv(document: Document, encoding: str, sizes: dict[str, int]) -> None:
    check(read_csv, document, encoding, sizes)


@given(tables("\t", tsv_cell), ENCODINGS, SIZES)
def test_tsv(document: Document, encoding: str, sizes: dict[str, int]) -> None:
    check(read_tsv, document, encoding, sizes)


@given(json_lines(), ENCODINGS, SIZES)
def test_jsonl(document: Document, encoding: str, sizes: dict[str, int]) -> None:
    check(read_jsonl, document, encoding, sizes)


@given(json_arrays(), ENCODINGS, SIZES)
def test_json(document: Document, encoding: str, sizes: dict[str, int]) -> None:
    check(read_json, document, encoding, sizes)


@pytest.mark.parametrize("number", [CHUNK_ROWS - 1, CHUNK_ROWS + STEP, 2 * CHUNK_ROWS + 3 * STEP])
@pytest.mark.parametrize(
    ("read", "head", "row", "tail", "row_lines"),
    [
        (read_csv, "name,note\n", '{0},"{0}\n"\n', "", 2),
        (read_tsv, "name\tnote\n", "{0}\t{0}\n", "", 1),
        (read_jsonl, "# users\n", '{{"name": "{0}"}}\n\n', "", 2),
        (read_json, "[\n", '{{"name": "{0}",\n"note": 1}},\n', '{"name": ""}]', 2),
    ],
)
def test_a_chunk_ends_soon_after_its_rows(
    number: int, read: Read, head: str, row: str, tail: str, row_lines: int
) -> None:
    content = head + "".join(row.format(position) for position in range(number)) + tail
    with opened(content.encode(), lines=read is not read_json) as text:
        chunks = list(read(text))
    *full, last = [len(chunk.lines) for chunk in chunks]
    assert all(CHUNK_ROWS <= length < CHUNK_ROWS + STEP for length in full)
    assert 0 < last < CHUNK_ROWS + STEP
    lines = [line for chunk in chunks for line in chunk.lines][:number]
    assert lines == [2 + position * row_lines for position in range(number)]
    names = [name for chunk in chunks for name in chunk.columns["name"]][:number]
    assert names == list(map(str, range(number)))


@pytest.mark.parametrize(
    ("read", "head", "row"),
    [
        (read_csv, "name,note\n", "{0},{1}\n"),
        (read_tsv, "name\tnote\n", "{0}\t{1}\n"),
        (read_jsonl, "", '{{"name": "{0}", "note": "{1}"}}\n'),
        (read_json, "[", '{{"name": "{0}", "note": "{1}"}},'),
    ],
)
def test_long_rows_are_read_a_part_at_a_time(read: Read, head: str, row: str) -> None:
    width = 30_000
    rows = [row.format(position, "x" * width) for position in range(500)]
    content = (head + "".join(rows)).encode()
    at_once = CHUNK_BYTES + STEP * width + 2 * BLOCK
    with opened(content, lines=read is not read_json) as text:
        chunks = read(text)
        first = next(chunks)
        assert CHUNK_BYTES <= text.bytes_read <= at_once
        assert CHUNK_BYTES <= len(first.lines) * width <= at_once


def test_a_header_alone_is_a_chunk_without_rows() -> None:
    for read, content in ((read_csv, b"a,b\r\n\r\n"), (read_tsv, b"a\tb")):
        with opened(content) as text:
            (chunk,) = read(text)
        assert (list(chunk.lines), chunk.problems) == ([], [])
        assert {name: list(column) for name, column in chunk.columns.items()} == {"a": [], "b": []}


@pytest.mark.parametrize("read", [read_csv, read_tsv])
def test_lines_in_which_nothing_stands_are_passed_over(read: Read) -> None:
    content = "\n# x\n \r\n\r\na,b\n1,2\n,\n   \n,,,\n\n3,\n"
    with opened(content.replace(",", "," if read is read_csv else "\t").encode()) as text:
        (chunk,) = read(text)
    assert (list(chunk.lines), chunk.problems) == ([6, 11], [])
    assert {name: list(column) for name, column in chunk.columns.items()} == {
        "a": ["1", "3"],
        "b": ["2", ""],
    }


def test_the_delimiter_is_what_the_header_has() -> None:
    for content, delimiter in (
        (b"a;b\n1,5;2\n", None),
        (b"a|b\n1,5|2\n", "|"),
        (b"sep=|\r\na|b\r\n1,5|2\r\n", None),
        (b'"sep=;"\na;b\n1,5;2\n', None),
    ):
        with opened(content) as text:
            (chunk,) = read_csv(text, delimiter=delimiter)
        assert chunk.columns == {"a": ("1,5",), "b": ("2",)}


def test_a_backslash_that_escapes_nothing_is_one() -> None:
    with opened(b"a\tb\tc\n\\N\tC:\\Dir\\new\t\\\\t\\\\\\t\\\n") as text:
        (chunk,) = read_tsv(text)
    assert chunk.columns == {"a": ("\\N",), "b": ("C:\\Dir\new",), "c": ("\\t\\\t\\",)}


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_csv, 'a,b\n"x\ny",z\n1,"2\n3\n', "line 5 cannot be read: unexpected end of data"),
        (read_csv, 'a,b\r"x",z\r1,"2"3\r', "line 3 cannot be read: ',' expected after '\"'"),
        (
            read_csv,
            "a,b\n\n" + "x" * 33_000 + ",\n",
            "line 3 cannot be read: a cell has more than 32,768",
        ),
        (read_csv, '# x\n"a,b\n', "the header cannot be read: unexpected end of data"),
        (read_tsv, "a\tb\ta\n", 'the header names the column "a" twice'),
        (read_csv, ",".join(map(str, range(COLUMNS_MAX + 1))), "the header names 101 columns"),
        (read_csv, "\n,,\n", "there is no header, or it is empty"),
        (read_json, '{"a": 1}', "a json file must hold one array of objects"),
        (read_json, '[{"a": 1}\r\n{"a": 2}]', "is missing behind the item that begins on line 1"),
        (read_json, '[\r\r{"a": 1},\r\n{"a" 2}]', "the item that begins on line 4 is no JSON"),
        (read_json, '[{"a":\n1},\n]', "the item that begins on line 3 is no JSON"),
        (read_json, "[]\n\n[]", "something follows the array, on line 3"),
        (read_json, '[{"a": 1},\n', "the item that begins on line 2 is no JSON"),
        (
            read_jsonl,
            "{}\n" + json.dumps(dict.fromkeys(map(str, range(COLUMNS_MAX + 1)))),
            "the objects before line 2 have 101 keys",
        ),
    ],
)
def test_what_cannot_be_read_on_is_told_with_its_line(
    read: Read, content: str, message: str
) -> None:
    with pytest.raises(InvalidInput) as refused, opened(content.encode(), lines=False) as text:
        list(read(text))
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a": 1', "it is no JSON: Expecting ',' delimiter, at character 8"),
        ('{"a": 1} {}', "it is no JSON: Extra data, at character 10"),
        ("9" * 5_000, "it is no JSON: Exceeds the limit"),
        ('"text"', "it is no object, but str"),
        ("null", "it is no object, but NoneType"),
    ],
)
def test_a_line_that_is_no_object_is_a_problem_of_its_own(value: str, told: str) -> None:
    with opened(f'{{"a": 1}}\n{value}\n{{"a": 3}}'.encode()) as text:
        (chunk,) = read_jsonl(text)
    assert (chunk.lines, chunk.columns) == ([1, 3], {"a": [1, 3]})
    (problem,) = chunk.problems
    assert (problem.line, problem.code, problem.row) == (2, "invalid_json", None)
    assert problem.reason.startswith(told)


@pytest.mark.parametrize(
    ("name", "beginning", "format_name"),
    [
        ("x.CSV", "[", "csv"),
        ("x.ndjson", "", "jsonl"),
        ("x.tsv", "a,b", "tsv"),
        ("x.jsonl.GZ", "a,b", "jsonl"),
        ("a.csv/x.zst", "[", "json"),
        ("x.txt", " \r\n[", "json"),
        ("stdin", '\n{"a": 1}', "jsonl"),
        ("stdin", "a\tb\n", "tsv"),
        ("stdin", "a,b\nx\ty", "csv"),
        ("csv", "", "csv"),
    ],
)
def test_the_format_by_name_or_else_by_content(name: str, beginning: str, format_name: str) -> None:
    assert recognise_format(name, beginning) == format_name
