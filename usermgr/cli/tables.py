"""Tables for people: words stay whole where the terminal is wide enough, and nothing is cut off."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

PART: Final = 500
"""How many rows are in memory at once."""

_GAP = 2
_READABLE = 24
"""A column as wide as this may break longer words; a narrower one would show scraps of them."""


def print_many(console: Console, names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """One row a thing; where the terminal is too narrow for that, one line a field.

    The rows are streamed: columns get wider where rows further down need that.
    """
    rows = iter(rows)
    part = list(itertools.islice(rows, PART))
    widths = column_widths([names, *part], console.width)
    if widths is None:
        for number, row in enumerate(itertools.chain(part, rows)):
            if number:
                console.print()
            print_one(console, names, row)
        return
    header = True
    while part or header:
        table = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
        for name, width in zip(names, widths, strict=True):
            table.add_column(Text(name), width=width, overflow="fold")
        for row in part:
            table.add_row(*map(Text, row))
        console.print(table)
        part, header = list(itertools.islice(rows, PART)), False
        so_far = ["x" * width for width in widths]
        widths = column_widths([names, so_far, *part], console.width) or widths


def print_one(
    console: Console, names: Sequence[str], row: Sequence[str], *, highlighted: Sequence[str] = ()
) -> None:
    """One line a field, or several where the value has them. A word longer than the terminal is
    left to it to break, so that whoever copies the word gets it in one piece."""
    indent = max(map(len, names), default=0) + _GAP
    for name, value in zip(names, row, strict=True):
        style = "bold green" if name in highlighted else ""
        lines = _wrap(value, console.width - indent)
        shown = [Text.assemble((name, "dim"), " " * (indent - len(name)), (lines[0], style))]
        shown += [Text(" " * indent + line, style) for line in lines[1:]]
        for line in shown:
            console.print(line, soft_wrap=True)


def _wrap(value: str, width: int) -> list[str]:
    wrapper = textwrap.TextWrapper(max(1, width), break_long_words=False, break_on_hyphens=False)
    lines: list[str] = []
    for line in value.split("\n"):
        lines += [line] if cell_len(line) <= width else wrapper.wrap(line)
    return lines or [""]


def column_widths(rows: Sequence[Sequence[str]], available: int) -> list[int] | None:
    """The width of every column, the header being the first row; None when none is readable.

    What fits is not wrapped. Else every word stays whole, or, where that is too wide, every word
    but the longest ones.
    """
    columns = list(zip(*rows, strict=True))
    most = [max(map(cell_len, column)) for column in columns]
    words = [max(cell_len(word) for cell in column for word in _words(cell)) for column in columns]
    room = available - _GAP * (len(columns) - 1)
    for longest in range(max(room, _READABLE), _READABLE - 1, -1):
        least = [min(word, longest) for word in words]
        if sum(least) <= room:
            return _share(room, least, most)
    return None


def _share(room: int, least: Sequence[int], most: Sequence[int]) -> list[int]:
    """The widths between least and most, as even as the room allows."""
    widths = list(least)
    for level in range(1, room + 1):
        wider = [max(low, min(high, level)) for low, high in zip(least, most, strict=True)]
        if sum(wider) > room:
            break
        widths = wider
    return widths


def _words(cell: str) -> list[str]:
    return cell.split() or [""]
