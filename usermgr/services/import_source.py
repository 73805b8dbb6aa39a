"""Where an import reads from: a file that can be read again, its format, and its passwords."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import IO, Any

from usermgr.errors import InvalidInput
from usermgr.formats.files import temporary_lines
from usermgr.formats.inputs import InputFile, InputText
from usermgr.formats.readers import (
    Chunk,
    csv_delimiter,
    read_csv,
    read_json,
    read_jsonl,
    read_tsv,
    recognise_format,
)
from usermgr.passwords import generate_password
from usermgr.services.hashing import hash_all
from usermgr.services.rows import RowRules, Rows, prepare

Progress = Callable[[int], None]


def _ignore(_: int) -> None:
    pass


@dataclass(slots=True)
class ImportSource:
    """The rows of a file, from the first one on, as often as they are asked for.

    ``format_name``, ``delimiter`` and ``encoding`` are recognised when they are None. What is
    passed as ``read`` is told how many bytes of the file were read so far. Plain passwords are
    hashed once, by ``hash_passwords``, before anything is stored.
    """

    file: InputFile
    rules: RowRules
    format_name: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    _hashes: IO[str] | None = field(default=None, init=False)
    _generated: IO[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.format_name is None:
            with self.file.text(self.encoding, lines=False) as text:
                self.format_name = recognise_format(self.file.content_name, text.read(4096))

    @property
    def size_bytes(self) -> int:
        """The size of the file, as stored."""
        return self.file.size

    def csv_delimiter(self) -> str:
        """The delimiter of a csv file: the one that was given, or what its header shows."""
        if self.delimiter is not None:
            return self.delimiter
        with self.file.text(self.encoding) as text:
            return csv_delimiter(text)

    def descriptors(self) -> list[int]:
        """The numbers of the open files, for a process that is to inherit them."""
        return [self.file.descriptor, *([self._hashes.fileno()] if self._hashes else [])]

    def __getstate__(self) -> dict[str, Any]:
        state = {f.name: getattr(self, f.name) for f in fields(self)}
        hashes = self._hashes.fileno() if self._hashes else None
        return {**state, "_generated": None, "_hashes": hashes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        if self._hashes is not None:
            self._hashes = os.fdopen(state["_hashes"], encoding="utf-8", newline="\n")

    def chunks(self, read: Progress = _ignore) -> Iterator[Chunk]:
        """The file as it is, in chunks of columns. Raises Conflict when it changes meanwhile."""
        lines = self.format_name != "json"
        try:
            with self.file.text(self.encoding, lines=lines, progress=read) as text:
                for chunk in self._read(text):
                    # Before anything is concluded from it.
                    self.file.require_unchanged()
                    yield chunk
        except InvalidInput:
            self.file.require_unchanged()  # Then the rest says nothing about the file.
            raise
        self.file.require_unchanged()

    def _read(self, text: InputText) -> Iterator[Chunk]:
        if self.format_name == "csv":
            return read_csv(text, delimiter=self.delimiter)
        if self.format_name == "tsv":
            return read_tsv(text)
        return (read_json if self.format_name == "json" else read_jsonl)(text)

    def rows(self, read: Progress = _ignore) -> Iterator[Rows]:
        """The rows, checked, with the hashes of their passwords."""
        hashes = self._read_hashes()
        for rows in prepare(self.chunks(read), self.rules):
            if self._hashes is not None:
                rows.hashes = list(itertools.islice(hashes, len(rows.lines)))
            elif any(rows.secrets):  # Those that the first rows did not lead to expect.
                made = hash_all(rows.secrets, progress=lambda _: None)
                rows.hashes = [a or b for a, b in zip(made, rows.hashes, strict=True)]
            yield rows

    def look(self) -> tuple[bool, int]:
        """Whether the first rows have plain passwords, and about how many rows there are."""
        at = 0

        def note(position: int) -> None:
            nonlocal at
            at = position

        first = next(prepare(self.chunks(note), self.rules), None)
        if first is None or not at:
            return False, 0
        rows = len(first.lines) + len(first.problems)
        return any(first.secrets), max(rows, rows * self.file.size // at)

    def hash_passwords(self, *, generate: bool, hashed: Progress) -> None:
        """Hash every plain password now, on all cores; ``generate`` makes one for rows without.

        ``hashed`` is told the number of hashes made since the last call.
        """
        self._hashes = temporary_lines()
        self._generated = temporary_lines() if generate else None
        for rows in prepare(self.chunks(), self.rules):
            secrets = list(rows.secrets)
            if self._generated is not None:
                for position, number in enumerate(rows.numbers):
                    if secrets[position] is None and rows.hashes[position] is None:
                        secrets[position] = password = generate_password()
                        self._generated.write(f"{number}\t{rows.emails[position]}\t{password}\n")
            made = hash_all(secrets, progress=hashed)
            for stored, given in zip(made, rows.hashes, strict=True):
                self._hashes.write(f"{stored or given or ''}\n")
        self._hashes.flush()

    def close(self) -> None:
        """Remove what is on disk."""
        for spool in (self._hashes, self._generated):
            if spool is not None:
                spool.close()

    def generated(self) -> Iterator[tuple[int, str, str]]:
        """The (number, e-mail, password) of the rows that got a password, by number."""
        if self._generated is None:
            return
        self._generated.seek(0)
        for text in self._generated:
            number, email, password = text.rstrip("\n").split("\t")
            yield int(number), email, password

    def _read_hashes(self) -> Iterator[str | None]:
        if self._hashes is None:
            return
        self._hashes.seek(0)
        for text in self._hashes:
            yield text.rstrip("\n") or None
