"""Records out: csv, tsv, json, jsonl, yaml. Every writer streams; none looks at locale or width.

A row is a dict from field to value; values are text, numbers, booleans, None, instants, lists of
text, and plain JSON structures. What a reader of the format parses is what was stored.
"""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any, TextIO

Row = Mapping[str, Any]


def plain(value: Any) -> Any:
    """The value as JSON and YAML carry it: instants as RFC 3339 text, tuples as lists."""
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def instant(value: datetime) -> str:
    """RFC 3339 in UTC with microseconds: as text, instants sort like instants."""
    naive = value.astimezone(UTC).replace(tzinfo=None)
    return naive.isoformat(timespec="microseconds") + "Z"


def cell(value: Any) -> str:
    """The value as one cell of csv, tsv and tables.

    None is empty; lists are joined by ``;`` with ``\\;`` and ``\\\\`` for a ``;`` or ``\\`` inside
    an item; structures are JSON.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, tuple | list) and all(isinstance(item, str) for item in value):
        return ";".join(item.replace("\\", "\\\\").replace(";", "\\;") for item in value)
    if isinstance(value, tuple | list | Mapping):
        return json.dumps(plain(value), ensure_ascii=False)
    return str(value)


_LIST_ITEM = re.compile(r"(?:[^;\\]|\\.?)+", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def split_list(text: str) -> list[str]:
    """The items of a list that ``cell`` joined; empty ones are left out."""
    if "\\" not in text:
        return [item for item in text.split(";") if item]
    return [_ESCAPED.sub(r"\1", item) for item in _LIST_ITEM.findall(text)]


def write_csv(out: TextIO, fields: Sequence[str], rows: Iterable[Row]) -> None:
    """RFC 4180 with a header, but lines end with LF, as everywhere else on a Unix pipe."""
    writer = csv_writer(out)
    writer.writerow(fields)
    writer.writerows([cell(row[field]) for field in fields] for row in rows)


def csv_writer(out: IO[str], *, delimiter: str = ",") -> Any:
    """A writer of the csv module whose rows end with LF, and that quotes whatever ends a line."""
    return csv.writer(_LineFeeds(out), delimiter=delimiter, lineterminator="\r\n")


class _LineFeeds:
    """Ends the rows of a csv writer with LF. The writer itself has to be told CRLF, because it
    quotes a lone CR inside a cell only then."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def write(self, row: str) -> None:
        self._out.write(row.removesuffix("\r\n") + "\n")


_TSV_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def escape_tsv(text: str) -> str:
    """The text as a cell of tsv: tab, LF, CR and backslash are written ``\\t \\n \\r \\\\``."""
    return text.translate(_TSV_ESCAPES)


def write_tsv(out: TextIO, fields: Sequence[str], rows: Iterable[Row]) -> None:
    """Tab-separated with a header; tab, LF, CR and backslash are written ``\\t \\n \\r \\\\``."""
    out.write("\t".join(fields) + "\n")
    for row in rows:
        out.write("\t".join(escape_tsv(cell(row[field])) for field in fields) + "\n")


def write_json(out: TextIO, fields: Sequence[str], rows: Iterable[Row]) -> None:
    """One array, an object a line."""
    separator = "[\n"
    for row in rows:
        out.write(separator + _json_object(fields, row))
        separator = ",\n"
    out.write("[]\n" if separator == "[\n" else "\n]\n")


def write_jsonl(out: TextIO, fields: Sequence[str], rows: Iterable[Row]) -> None:
    """One object a line; no rows, no output."""
    for row in rows:
        out.write(_json_object(fields, row) + "\n")


def write_yaml(out: TextIO, fields: Sequence[str], rows: Iterable[Row]) -> None:
    """One sequence of mappings."""
    empty = True
    for row in rows:
        out.write(_yaml([{field: plain(row[field]) for field in fields}]))
        empty = False
    if empty:
        out.write("[]\n")


def write_one_json(out: TextIO, fields: Sequence[str], row: Row) -> None:
    """One object, indented."""
    chosen = {field: plain(row[field]) for field in fields}
    out.write(json.dumps(chosen, ensure_ascii=False, indent=2) + "\n")


def write_one_yaml(out: TextIO, fields: Sequence[str], row: Row) -> None:
    """One mapping."""
    out.write(_yaml({field: plain(row[field]) for field in fields}))


def _json_object(fields: Sequence[str], row: Row) -> str:
    return json.dumps({field: plain(row[field]) for field in fields}, ensure_ascii=False)


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.dump(
        value, Dumper=_yaml_dumper(), allow_unicode=True, sort_keys=False, width=2**31
    )
    return text


@functools.cache
def _yaml_dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes text with unusual characters in double quotes: only there are they escaped."""

    def represent(dumper: Any, text: str) -> Any:
        style = None if text.isprintable() else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent)
    return Dumper


MANY: Mapping[str, Callable[[TextIO, Sequence[str], Iterable[Row]], None]] = {
    "csv": write_csv,
    "tsv": write_tsv,
    "json": write_json,
    "jsonl": write_jsonl,
    "yaml": write_yaml,
}
ONE: Mapping[str, Callable[[TextIO, Sequence[str], Row], None]] = {
    "csv": lambda out, fields, row: write_csv(out, fields, [row]),
    "tsv": lambda out, fields, row: write_tsv(out, fields, [row]),
    "json": write_one_json,
    "jsonl": lambda out, fields, row: write_jsonl(out, fields, [row]),
    "yaml": write_one_yaml,
}
