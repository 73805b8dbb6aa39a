"""The reject file: the rows that were refused, in the input's own format, plus line and reason.

It can be corrected and imported again, with the same options. Bytes that are no UTF-8 come out of
csv and tsv as they were, and of json as escapes of half surrogates. It never holds a plain
password: the cells are emptied, columns that the import passes over are left out, and of rows that
could not be taken apart nothing is kept where either may stand in them.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Final

from usermgr.errors import InvalidInput
from usermgr.formats.readers import Problem, format_of_name
from usermgr.formats.writers import csv_writer, escape_tsv
from usermgr.names import visible
from usermgr.services.import_source import ImportSource

_ADDED: Final = ("line", "reason")

Rejected = tuple[Problem, Mapping[str, Any] | None]


def write_rejects(out: IO[str], source: ImportSource, problems: Iterable[Problem]) -> int:
    """Write the rows with problems, which come in the order of their numbers.

    ``out`` gets the input's encoding, where it has one. Returns how many passwords were left out.
    """
    codec, has_mark = source.codec()
    if isinstance(out, io.TextIOWrapper) and codec != "utf-8":
        # What is said of a row may have letters that the encoding lacks.
        out.reconfigure(encoding=codec, errors="backslashreplace")
        if has_mark:
            out.write("\ufeff")
    if source.format_name in ("csv", "tsv"):
        return _write_table(out, source, problems)
    return _write_objects(out, source, problems, codec)


def require_ending(name: str, source: ImportSource) -> None:
    """Raise InvalidInput for a reject file whose name promises another format than it will have."""
    promised = format_of_name(name)
    if promised not in (None, source.format_name):
        raise InvalidInput(
            f'"{visible(name)}" would not be {promised}: rejects have the input\'s format, '
            f"{source.format_name}",
            hint=f"name a file that ends with .{source.format_name}",
        )


def _secrets(source: ImportSource) -> set[str]:
    """The columns that hold passwords, or may: ``--map`` puts another in the place of its field."""
    return {"password", source.rules.mapping.get("password", "password")}


def _write_table(out: IO[str], source: ImportSource, problems: Iterable[Problem]) -> int:
    first = next(source.chunks(), None)
    columns = list(first.columns) if first else []
    secrets, ignored = _secrets(source), source.rules.ignored
    header = [name for name in columns if name not in _ADDED and name not in ignored]
    # What is fed again has them already, also where a row has more or fewer cells than the header.
    added_before = [position for position, name in enumerate(columns) if name in _ADDED]
    # Nobody knows which of the cells of such a row is the password.
    whole = secrets.isdisjoint(columns) and ignored.isdisjoint(columns)
    write = _row_writer(out, source)
    write([*_ADDED, *header])
    hidden = 0
    for problem, row in _rejected(source, problems):
        added = [str(problem.line), problem.reason]
        if row is not None:
            hidden += any(map(row.get, secrets))
            write([*added, *("" if name in secrets else row.get(name, "") for name in header)])
        else:
            hidden += not secrets.isdisjoint(columns)
            cells = problem.row if whole and problem.row else ()
            write([*added, *(cell for at, cell in enumerate(cells) if at not in added_before)])
    return hidden


def _row_writer(out: IO[str], source: ImportSource) -> Callable[[Sequence[str]], Any]:
    if source.format_name == "csv":
        write: Callable[[Sequence[str]], Any]
        write = csv_writer(out, delimiter=source.csv_delimiter()).writerow
        return write
    return lambda cells: out.write("\t".join(map(escape_tsv, cells)) + "\n")


def _write_objects(
    out: IO[str], source: ImportSource, problems: Iterable[Problem], codec: str
) -> int:
    secrets, hidden = _secrets(source), 0
    left_out = secrets | source.rules.ignored
    array = source.format_name == "json"
    separator = "[\n" if array else ""
    for problem, row in _rejected(source, problems):
        shown: dict[str, Any] = {"line": problem.line, "reason": problem.reason}
        if row is not None:
            hidden += any(map(row.get, secrets))
            shown |= {key: value for key, value in row.items() if key not in left_out}
        out.write(separator + _json(shown, codec) + ("" if array else "\n"))
        separator = ",\n" if array else ""
    if array:
        out.write("[]\n" if separator == "[\n" else "\n]\n")
    return hidden


def _json(value: Any, codec: str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return "".join(map(functools.partial(_json_character, codec), text))
    return text


def _json_character(codec: str, character: str) -> str:
    try:
        character.encode(codec)
    except UnicodeEncodeError:
        return json.dumps(character)[1:-1]
    return character


def _rejected(source: ImportSource, problems: Iterable[Problem]) -> Iterator[Rejected]:
    """Each problem with the row it stands for, where that can be had; one problem a row."""
    pending = iter(problems)
    problem = next(pending, None)
    for chunk in source.chunks():
        if problem is None:
            return
        positions = {number: position for position, number in enumerate(chunk.numbers)}
        last = max([*chunk.numbers[-1:], *(p.number for p in chunk.problems)], default=0)
        while problem is not None and problem.number <= last:
            position = positions.get(problem.number)
            row = None
            if position is not None:
                row = {
                    name: column[position]
                    for name, column in chunk.columns.items()
                    if column[position] is not None and name not in _ADDED
                }
            yield problem, row
            problem = next(pending, None)
