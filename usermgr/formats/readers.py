"""Records in: csv and tsv, in chunks of columns, every row with its line number.

A reader streams: memory holds one chunk. What is wrong with one row is a ``Problem`` of that row;
what makes the rest unreadable is an InvalidInput that names the line.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from usermgr.errors import InvalidInput
from usermgr.formats.files import content_ending
from usermgr.formats.inputs import InputText, OverlongLine, OverlongRows
from usermgr.names import visible

CHUNK_ROWS: Final = 1_000
CHUNK_BYTES: Final = 512 * 1024
"""A chunk ends soon after it reaches one of the two. It is to fit into a processor's cache, where
what is done with it takes two thirds of the time."""

STEP: Final = 16
"""How many rows of a table are read at most between two looks at the number of bytes. What is made
of a row may take twenty times the memory of its text, as with a row of commas."""

COLUMNS_MAX: Final = 100
CELL_MAX: Final = 32 * 1024
"""Characters of one cell of a table."""

FORMATS: Final = ("csv", "tsv", "jsonl", "json")


T = TypeVar("T")


class Problem(NamedTuple):
    """What is wrong with a row: a code to count by, and words.

    ``number`` and ``line`` are those of ``Chunk``. ``row`` holds the first COLUMNS_MAX cells of a
    row of a table that is in no column.
    """

    number: int
    line: int
    code: str
    reason: str
    row: list[str] | None = None


@dataclass(slots=True)
class Chunk:
    """Rows as columns: ``numbers``, ``lines`` and every column have one item a row.

    A row is known by its number; numbers ascend. It is the line on which the row begins, but in
    json, where many rows may stand on one line, it counts them. Cells of csv and tsv are text;
    values of json are what they are, and None where the key is missing or null. ``problems`` are
    rows that are not in the columns.
    """

    numbers: Sequence[int]
    lines: Sequence[int]
    columns: Mapping[str, Sequence[Any]]
    problems: list[Problem] = field(default_factory=list)


ReadChunks = Callable[[InputText], Iterator[Chunk]]


def recognise_format(name: str, beginning: str) -> str:
    """The format by the name's ending, or else by how the content begins."""
    named = format_of_name(name)
    if named is not None:
        return named
    content = beginning.lstrip()
    if content.startswith("["):
        return "json"
    if content.startswith("{"):
        return "jsonl"
    return "tsv" if "\t" in beginning.partition("\n")[0] else "csv"


def format_of_name(name: str) -> str | None:
    """The format that the name's ending says, None where it says nothing."""
    ending = content_ending(name)
    if ending == "ndjson":
        return "jsonl"
    return ending if ending in FORMATS else None


def read_csv(file: InputText, *, delimiter: str | None = None) -> Iterator[Chunk]:
    """RFC 4180 with a header; any line end, quoted ones inside cells included.

    Above the header, empty lines and lines that begin with ``#`` are passed over, and so is
    ``sep=;``, by which spreadsheets tell the delimiter.

    Without that and without ``delimiter`` it is ``;`` where the header has some and no ``,``.
    """
    first, skipped, named = _skip_comments(file)
    delimiter = delimiter or named or _delimiter(first)
    csv.field_size_limit(CELL_MAX)
    rows = csv.reader(itertools.chain([first], file), delimiter=delimiter, strict=True)
    with told_by_line(lambda: skipped + rows.line_num):
        yield from _read_table(file, rows, lambda: skipped + rows.line_num)


def csv_delimiter(file: InputText) -> str:
    """The delimiter of the header."""
    first, _, named = _skip_comments(file)
    return named or _delimiter(first)


def _delimiter(header: str) -> str:
    return ";" if ";" in header and "," not in header else ","


_NAMED_DELIMITER = re.compile(r"\"?sep=([^\"\r\n])\"?[\r\n]*")


def _skip_comments(file: InputText) -> tuple[str, int, str | None]:
    """The header's first line, how many stand above it, and the delimiter that one of them named.

    Those above begin with ``#``, or hold nothing else.
    """
    number, delimiter = 0, None
    with told_by_line(lambda: number):
        for line in file:
            named = _NAMED_DELIMITER.fullmatch(line)
            if named is not None:
                delimiter = named[1]
            elif line.strip() and not line.startswith("#"):
                return line, number, delimiter
            number += 1
    return "", 0, delimiter


@contextlib.contextmanager
def told_by_line(line_number: Callable[[], int]) -> Iterator[None]:
    """Tell where a line or a row is too long; what comes tells how many lines were given out."""
    try:
        yield
    except OverlongLine as error:
        raise InvalidInput(
            f"line {line_number() + 1} has more than 256 KiB",
            hint="is it a text file with one user a line?",
        ) from error
    except OverlongRows as error:
        raise InvalidInput(
            f"line {line_number()} cannot be read: its row has more than 256 KiB",
            hint="look for a quote that is not closed before it",
        ) from error


_TSV_ESCAPE = re.compile(r"\\(.)")
_TSV_MEANING = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}


def read_tsv(file: InputText) -> Iterator[Chunk]:
    """Tab-separated with a header; ``\\t \\n \\r \\\\`` stand for tab, LF, CR and backslash.

    Before any other character a backslash is a backslash. Empty lines and lines that begin with
    ``#`` are passed over above the header.
    """
    first, number, _ = _skip_comments(file)

    def rows() -> Iterator[list[str]]:
        nonlocal number
        for line in itertools.chain([first], file):
            number += 1
            cells = line.rstrip("\r\n").split("\t")
            if "\\" in line:
                cells = [_TSV_ESCAPE.sub(_tsv_character, cell) for cell in cells]
            yield cells if line.strip("\r\n") else []

    with told_by_line(lambda: number):
        yield from _read_table(file, rows(), lambda: number, multiline=False)


def _tsv_character(escape: re.Match[str]) -> str:
    return _TSV_MEANING.get(escape[1], escape[0])


def _read_table(
    file: InputText,
    rows: Iterator[list[str]],
    line_number: Callable[[], int],
    *,
    multiline: bool = True,
) -> Iterator[Chunk]:
    if multiline:
        file.announce(1)
    header = _read_header(rows)
    start = line_number()
    found_parts = parts(rows, file, STEP, multiline=multiline)
    empty = True
    while True:
        try:
            found = next(found_parts, None)
        except csv.Error as error:
            raise InvalidInput(
                f"line {line_number()} cannot be read: {_damage(error)}",
                hint="look for a quote that is not closed in or before it",
            ) from error
        if found is None:
            break
        if multiline and line_number() - start != len(found):
            lines: Sequence[int] = _first_lines(found, start)
        else:
            lines = range(start + 1, start + len(found) + 1)
        yield _chunk(header, found, lines)
        start, empty = line_number(), False
    if empty:
        yield _chunk(header, [], [])


def _damage(error: csv.Error) -> str:
    if "field limit" in str(error):
        return f"a cell has more than {CELL_MAX:,} characters"
    return str(error)


def parts(
    items: Iterator[T], file: InputText, most_at_once: int, *, multiline: bool = False
) -> Iterator[list[T]]:
    """The items in lists of about CHUNK_ROWS or CHUNK_BYTES of the file, whatever comes first."""
    part: list[T] = []
    start, step = file.bytes_read, 1
    while True:
        if multiline:
            file.announce(step)
        following = list(itertools.islice(items, step))
        if not following:
            break
        part += following
        read = file.bytes_read - start
        if len(part) >= CHUNK_ROWS or read >= CHUNK_BYTES:
            yield part
            part, start, step = [], file.bytes_read, 1
        else:
            step = min(step * 2, most_at_once)
    if part:
        yield part


def _read_header(rows: Iterator[list[str]]) -> list[str]:
    try:
        header = [name.strip() for name in next(rows, [])]
    except csv.Error as error:
        raise InvalidInput(f"the header cannot be read: {_damage(error)}") from error
    if header and _JSON_START.match(header[0]):
        raise InvalidInput(
            "the header looks like json",
            hint="pass --format json, or jsonl where each line is one object",
        )
    if not any(header):
        raise InvalidInput(
            "there is no header, or it is empty",
            hint="the first line must name the columns; see: usermgr user import --template csv",
        )
    if len(header) > COLUMNS_MAX:
        raise InvalidInput(
            f"the header names {len(header)} columns", hint=f"at most {COLUMNS_MAX} are read"
        )
    repeated = next((name for name in header if header.count(name) > 1), None)
    if repeated is not None:
        raise InvalidInput(
            f'the header names the column "{visible(repeated)}" twice', hint="rename one of them"
        )
    return header


_JSON_START = re.compile(r"\[?\s*\{|\[$")
_LINE_END = re.compile(r"\r\n|\r|\n")


def _first_lines(rows: Sequence[Sequence[str]], before: int) -> list[int]:
    """The line each row begins on, when the lines up to ``before`` stand above them."""
    lines = []
    for row in rows:
        lines.append(before + 1)
        before += 1 + sum(
            len(_LINE_END.findall(cell)) for cell in row if "\n" in cell or "\r" in cell
        )
    return lines


def _chunk(header: list[str], rows: list[list[str]], lines: Sequence[int]) -> Chunk:
    width = len(header)
    if set(map(len, rows)) == {width}:
        cells = list(zip(*rows, strict=True))
        if all(cells[0]) or all(map(any, rows)):
            return Chunk(lines, lines, dict(zip(header, cells, strict=True)))
    # Spreadsheets write rows in which nothing stands, and people lines of spaces.
    told = [
        (line, row)
        for line, row in zip(lines, rows, strict=True)
        if (any(row) if len(row) == width else any(map(str.strip, row)))
    ]
    problems = [
        Problem(line, line, "ragged_row", _ragged(row, width), row[:COLUMNS_MAX])
        for line, row in told
        if len(row) != width
    ]
    kept = [(line, row) for line, row in told if len(row) == width]
    columns: dict[str, Sequence[Any]] = dict.fromkeys(header, ())
    if kept:
        columns = dict(zip(header, zip(*(row for _, row in kept), strict=True), strict=True))
    kept_lines = [line for line, _ in kept]
    return Chunk(kept_lines, kept_lines, columns, problems)


def _ragged(row: Sequence[str], width: int) -> str:
    return f"it has {len(row)} cells, the header has {width}"
