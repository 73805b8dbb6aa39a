"""Passwords that nobody may use: a file with one a line, compared as a whole, in any case.

Source: NIST SP 800-63B-4, section 3.1.1.2 ("the entire password SHALL be subject to comparison, not
substrings or words"). Lists have millions of lines. One password is looked for in one pass without
keeping anything; for the many of an import, hashes of the lines are kept, eight bytes each.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from usermgr.errors import InvalidInput

_PIECE: Final = 1024 * 1024
_FEW: Final = 8
"""As many passwords are looked for one by one: that is quicker than keeping the lines."""

_BEYOND_ASCII: Final = re.compile(rb"[\x80-\xff][^\n]*")


class Blocklist:
    """The passwords in a file. Lines shorter than ``min_length`` need not be known.

    Can be pickled; then it reads the file again.
    """

    def __init__(self, path: Path, *, min_length: int) -> None:
        self.path, self.min_length = path, min_length
        self._buckets: list[array[int]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_buckets": None}

    def holds(self, password: str) -> bool:
        """Whether the password is on the list. Raises InvalidInput when the file is unreadable."""
        wanted = _fold(password)
        if "\n" in wanted or not wanted:
            return False
        needle = f"\n{wanted}\n".encode(errors="surrogatepass")
        for data in self._pieces():
            # Most lines are ASCII, and are compared without looking at them one by one. Others can
            # be the same password too: the letter for kelvin is a K.
            if wanted.isascii() and needle in b"\n" + data.lower():
                return True
            if any(_fold(_text(line)) == wanted for line in _lines_beyond_ascii(data)):
                return True
        return False

    def find(self, passwords: Iterable[str]) -> set[str]:
        """Which of the passwords are on the list. Raises InvalidInput as ``holds`` does."""
        distinct = set(passwords)
        if self._buckets is None and len(distinct) <= _FEW:
            return {password for password in distinct if self.holds(password)}
        if self._buckets is None:
            self._buckets = self._index()
        return {password for password in distinct if self._is_indexed(_fold(password))}

    def lines(self) -> int:
        """How many lines the file has that are not empty. Raises InvalidInput as ``holds`` does."""
        return sum(len(list(filter(None, data.split(b"\n")))) for data in self._pieces())

    def _index(self) -> list[array[int]]:
        buckets = [array("q") for _ in range(256)]
        for data in self._pieces():
            for line in _fold(_text(data)).split("\n"):
                if len(line) >= self.min_length:
                    key = hash(line)
                    buckets[key & 255].append(key)
        return [array("q", sorted(bucket)) for bucket in buckets]

    def _is_indexed(self, folded: str) -> bool:
        key = hash(folded)
        bucket = (self._buckets or [])[key & 255]
        place = bisect.bisect_left(bucket, key)
        return place < len(bucket) and bucket[place] == key

    def _pieces(self) -> Iterator[bytes]:
        """The file in pieces of whole lines that end with LF."""
        try:
            if not self.path.is_file():
                # A pipe could be read once only.
                self.path.stat()
                raise self._unreadable("it is not a file")
            with self.path.open("rb") as file:
                yield from _whole_lines(file)
        except OSError as error:
            raise self._unreadable(error.strerror or "it cannot be read") from error

    def _unreadable(self, reason: str) -> InvalidInput:
        return InvalidInput(
            f'the password blocklist "{self.path}" cannot be read: {reason}',
            hint="correct USERMGR_PASSWORD_BLOCKLIST, or unset it",
        )


def _whole_lines(file: Any) -> Iterator[bytes]:
    rest, first = b"", True
    while data := file.read(_PIECE):
        if first:
            data = data.removeprefix(b"\xef\xbb\xbf")
            first = False
        end = data.rfind(b"\n") + 1
        if end:
            yield (rest + data[:end]).replace(b"\r\n", b"\n")
            rest = data[end:]
        else:
            # No password is as long as several pieces.
            rest = (rest + data)[-2 * _PIECE :]
    if rest:
        yield rest.removesuffix(b"\r") + b"\n"


def _lines_beyond_ascii(data: bytes) -> Iterator[bytes]:
    for match in _BEYOND_ASCII.finditer(data):
        yield data[data.rfind(b"\n", 0, match.start()) + 1 : match.end()]


def _text(data: bytes) -> str:
    # Old lists hold lines in other encodings, which are nobody's password here.
    return data.decode(errors="surrogateescape")


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
