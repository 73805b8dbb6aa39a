"""Records in: json of any size, and jsonl, in chunks of columns, each object with its line."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from usermgr.errors import InvalidInput
from usermgr.formats.inputs import ROW_MAX_BYTES, InputText
from usermgr.formats.readers import COLUMNS_MAX, Chunk, Problem, parts, told_by_line

OBJECT_STEP: Final = 8
"""How many objects are read at most between two looks at the number of bytes. What is made of one
may take twenty times the memory of its text, as with lists in which there is nothing."""


class Item(NamedTuple):
    """A value of a JSON text, or the error in its place, and which of the rows it is."""

    number: int
    line: int
    value: Any


def read_jsonl(file: InputText) -> Iterator[Chunk]:
    """One object a line; empty lines and lines that begin with ``#`` are passed over."""

    line = 0

    def values() -> Iterator[Item]:
        nonlocal line
        for line, text in enumerate(file, 1):
            if text.strip() and not text.startswith("#"):
                try:
                    yield Item(line, line, _DECODER.decode(text.strip()))
                except (ValueError, RecursionError) as error:
                    yield Item(line, line, error)

    with told_by_line(lambda: line):
        yield from _read_objects(file, values())


def read_json(file: InputText) -> Iterator[Chunk]:
    """One array of objects, read as a stream. Damaged JSON ends it: there is no next row."""
    yield from _read_objects(file, _array_items(file))


_DECODER: Final = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER_PART = re.compile(r"[.eE]?[+-]?")
_READ: Final = 64 * 1024
_LONGEST_WORD: Final = 12
"""Characters of what JSON cannot be read without, as an escaped character or -Infinity."""


class _Window:
    """The part of a JSON text that is in memory, and the line on which it begins."""

    def __init__(self, file: InputText) -> None:
        self._file = file
        self.text, self.at, self.line = "", 0, 1
        self.ended = False
        # Every line end becomes LF; inside of values there are none.
        self._line_ends = io.IncrementalNewlineDecoder(None, translate=True)

    def more(self) -> None:
        """Drop what was read and add what follows."""
        kept = len(self.text) - self.at
        if kept > ROW_MAX_BYTES:
            raise self._too_long()
        following = self._file.read(max(_READ, kept))
        self.ended = not following
        following = self._line_ends.decode(following, final=self.ended)
        self.text, self.at = self.text[self.at :] + following, 0

    def next_character(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self._pass(space.end() if space else self.at)
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.more()

    def skip(self) -> None:
        """Pass over one character."""
        self.at += 1

    def item(self) -> Any:
        """The value that begins here. Raises InvalidInput when it is none."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except RecursionError as error:
                raise self._no_json("it is nested too deeply") from error
            except json.JSONDecodeError as error:
                if self.ended or self._goes_wrong_at(error):
                    line = self.line + self.text.count("\n", self.at, error.pos)
                    raise self._no_json(f"{error.msg}, on line {line}") from error
            except ValueError as error:  # a number with too many digits
                if self.ended:
                    raise self._no_json(str(error)) from error
            else:
                if end - self.at > ROW_MAX_BYTES:
                    raise self._too_long()
                # At the end of what is in memory a number may go on.
                if self.ended or not _NUMBER_PART.fullmatch(self.text, end):
                    self._pass(end)
                    return value
            self.more()

    def _goes_wrong_at(self, error: json.JSONDecodeError) -> bool:
        """Whether the error is not just that the text in memory ends, inside a word perhaps."""
        unterminated = error.msg.startswith("Unterminated string")
        return not unterminated and error.pos < len(self.text) - _LONGEST_WORD

    def _no_json(self, reason: str) -> InvalidInput:
        return InvalidInput(f"the item that begins on line {self.line} is no JSON: {reason}")

    def _too_long(self) -> InvalidInput:
        return InvalidInput(
            f"the item that begins on line {self.line} has more than 256 KiB, or no end"
        )

    def _pass(self, end: int) -> None:
        self.line += self.text.count("\n", self.at, end)
        self.at = end


def _array_items(file: InputText) -> Iterator[Item]:
    window = _Window(file)
    if window.next_character() != "[":
        raise InvalidInput(
            "a json file must hold one array of objects",
            hint="one object a line is the format jsonl: pass --format jsonl",
        )
    window.skip()
    if window.next_character() == "]":
        window.skip()
    else:
        yield from _items_until_bracket(window)
    if window.next_character():
        raise InvalidInput(f"something follows the array, on line {window.line}")


def _items_until_bracket(window: _Window) -> Iterator[Item]:
    separator, number = ",", 0
    while separator == ",":
        number += 1
        window.next_character()
        line = window.line
        yield Item(number, line, window.item())
        separator = window.next_character()
        if separator not in (",", "]") or not separator:
            raise InvalidInput(
                f'"," or "]" is missing behind the item that begins on line {line}',
                hint="the file may be cut off",
            )
        window.skip()


def _read_objects(file: InputText, values: Iterator[Item]) -> Iterator[Chunk]:
    for found in parts(values, file, OBJECT_STEP):
        problems = [
            Problem(item.number, item.line, "invalid_json", _told(item.value))
            for item in found
            if not isinstance(item.value, dict)
        ]
        kept = [item for item in found if isinstance(item.value, dict)]
        names = dict.fromkeys(itertools.chain.from_iterable(item.value for item in kept))
        if len(names) > COLUMNS_MAX:
            raise InvalidInput(f"the objects before line {found[-1].line} have {len(names)} keys")
        columns = {name: [item.value.get(name) for item in kept] for name in names}
        numbers, lines = [item.number for item in kept], [item.line for item in kept]
        yield Chunk(numbers, lines, columns, problems)


def _told(value: Any) -> str:
    if isinstance(value, RecursionError):
        return "it is nested too deeply"
    if isinstance(value, json.JSONDecodeError):
        return f"it is no JSON: {value.msg}, at character {value.pos + 1}"
    if isinstance(value, ValueError):
        return f"it is no JSON: {value}"
    return f"it is no object, but {type(value).__name__}"
