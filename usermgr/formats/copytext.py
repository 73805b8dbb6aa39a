"""Columns as PostgreSQL's COPY reads them: tsv with its escapes, and ``\\N`` for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from usermgr.formats.writers import escape_tsv


class Same(NamedTuple):
    """A value that every row has."""

    value: Any


Column = Sequence[Any] | Same


def copy_text(columns: Sequence[Column]) -> bytes:
    """The rows of the columns, a line each, in UTF-8.

    A column holds values of one type, or None. Columns with the same value in all rows cost nothing
    at the end.
    """
    varying = list(columns)
    end = "\n"
    while isinstance(last := varying[-1], Same):
        end = f"\t{_text(last.value)}{end}"
        varying.pop()
    number = row_count(varying)
    if not number:
        return b""
    # Cells and what stands between them, joined at once: a third faster than line by line.
    width = 2 * len(varying)
    pieces = ["\t"] * (number * width)
    for position, column in enumerate(varying):
        pieces[2 * position :: width] = _render(column, number)
    pieces[width - 1 :: width] = [end] * number
    return "".join(pieces).encode()


def row_count(columns: Sequence[Column]) -> int:
    """How many rows the columns have."""
    return next(len(column) for column in columns if not isinstance(column, Same))


def _render(column: Column, number: int) -> Sequence[str]:
    if isinstance(column, Same):
        return [_text(column.value)] * number
    kinds = set(map(type, column))
    if kinds == {int}:
        return list(map(str, column))
    if kinds == {bool}:
        return ["t" if value else "f" for value in column]
    if kinds == {str} and _needs_no_escape("".join(column)):
        return column
    return list(map(_text, column))


def _needs_no_escape(text: str) -> bool:
    return not ("\\" in text or "\t" in text or "\n" in text or "\r" in text)


def _text(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value if _needs_no_escape(value) else escape_tsv(value)
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
