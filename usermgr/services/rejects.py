"""The reject file: the rows that were refused, in the input's own format, plus line and reason.

It can be corrected and imported again, with the same options. Bytes that are no UTF-8 come out of
csv and tsv as they were, and of json as escapes of half surrogates. It never holds a plain
password: the cells are emptied, also those of hashes in which something else stands, columns that
the import passes over are left out, and of rows that could not be taken apart nothing is kept where
either may stand in them.
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
from usermgr.hashes.forms import format_of
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


class _Secrets:
    """What is left out of rows: passwords, and what stands in the place of a hash and is none."""

    def __init__(self, source: ImportSource) -> None:
        # ``--map`` puts another column in the place of the field's own.
        mapping = source.rules.mapping
        self._passwords = {"password", mapping.get("password", "password")}
        self._hashes = {"password_hash", mapping.get("password_hash", "password_hash")}

    def may_stand_in(self, columns: Iterable[str]) -> bool:
        """Whether one of the columns may hold a password."""
        return not (self._passwords | self._hashes).isdisjoint(columns)

    def found(self, row: Mapping[str, Any]) -> set[str]:
        """The columns that hold one in this row."""
        filled = {name: value for name, value in row.items() if value}
        return (self._passwords & filled.keys()) | {
            name for name in self._hashes & filled.keys() if not _is_hash(filled[name])
        }


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and format_of(value) is not None


def _write_table(out: IO[str], source: ImportSource, problems: Iterable[Problem]) -> int:
    first = next(source.chunks(), None)
    columns = list(first.columns) if first else []
    secrets, ignored = _Secrets(source), source.rules.ignored
    header = [name for name in columns if name not in _ADDED and name not in ignored]
    # What is fed again has them already, also where a row has more or fewer cells than the header.
    added_before = [position for position, name in enumerate(columns) if name in _ADDED]
    # Nobody knows which of the cells of such a row is the password.
    whole = not secrets.may_stand_in(columns) and ignored.isdisjoint(columns)
    write = _row_writer(out, source)
    write([*_ADDED, *header])
    hidden = 0
    for problem, row in _rejected(source, problems):
        added = [str(problem.line), problem.reason]
        if row is not None:
            found = secrets.found(row)
            hidden += bool(found)
            write([*added, *("" if name in found else row.get(name, "") for name in header)])
        else:
            hidden += secrets.may_stand_in(columns)
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
    secrets, hidden = _Secrets(source), 0
    array = source.format_name == "json"
    separator = "[\n" if array else ""
    for problem, row in _rejected(source, problems):
        shown: dict[str, Any] = {"line": problem.line, "reason": problem.reason}
        if row is not None:
            found = secrets.found(row)
            hidden += bool(found)
            left_out = found | source.rules.ignored
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
