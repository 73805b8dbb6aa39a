"""Where an import reads from: a file that can be read again, its format, and its passwords."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import IO, Any, Final, NamedTuple

from usermgr.errors import InvalidInput
from usermgr.formats.files import temporary_lines
from usermgr.formats.inputs import BLOCK, Blocks, InputFile, InputText
from usermgr.formats.json_readers import read_json, read_jsonl
from usermgr.formats.readers import (
    Chunk,
    csv_delimiter,
    read_csv,
    read_tsv,
    recognise_format,
)
from usermgr.passwords import UNUSABLE, generate_password
from usermgr.records import RowOutcome
from usermgr.services.frames import PasswordsFound
from usermgr.services.hashing import hash_all
from usermgr.services.rows import RowRules, Rows, prepare

Progress = Callable[[int], None]

UNHASHED: Final = UNUSABLE + "unhashed"
"""Stands for the hash of a password that was not hashed. It is never committed, and no password if
it were."""


class _Password(NamedTuple):
    """What is known of a row's password: ``kind`` is given, generated or "" for neither.

    ``hashed`` is empty where nobody needs the hash.
    """

    kind: str
    number: int
    hashed: str = ""
    email: str = ""
    generated: str = ""


def _ignore(_: int) -> None:
    pass


@dataclass(slots=True)
class ImportSource:
    """The rows of a file, from the first one on, as often as they are asked for.

    ``format_name``, ``delimiter`` and ``encoding`` are recognised when they are None. What is
    passed as ``read`` is told how many bytes of the file were read so far.

    Plain passwords are not hashed while rows are given out. ``rehearse`` lets ``rows`` give
    UNHASHED in their place; who has seen what becomes of the rows then calls ``hash_passwords`` for
    those that need it, and ``rows`` gives their hashes.
    """

    file: InputFile
    rules: RowRules
    format_name: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    _rehearses: bool = field(default=False, init=False)
    _passwords: IO[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.format_name is None:
            with self.file.text(self.encoding, lines=False) as text:
                self.format_name = recognise_format(self.file.name, text.read(4096))
        if self.delimiter is not None and self.format_name != "csv":
            raise InvalidInput(
                f"--delimiter is for csv, and the file is read as {self.format_name}",
                hint="leave --delimiter out, or pass --format csv",
            )

    @property
    def size_bytes(self) -> int:
        """The size of the file, as stored."""
        return self.file.size

    def codec(self) -> tuple[str, bool]:
        """The encoding of the text, and whether only a byte-order mark told it."""
        with self.file.text(self.encoding) as text:
            return text.encoding, self.encoding is None and text.encoding != "utf-8"

    def csv_delimiter(self) -> str:
        """The delimiter of a csv file: the one that was given, or what its header shows."""
        if self.delimiter is not None:
            return self.delimiter
        with self.file.text(self.encoding) as text:
            return csv_delimiter(text)

    def descriptors(self) -> list[int]:
        """The numbers of the open files, for a process that is to inherit them."""
        return [self.file.descriptor, *([self._passwords.fileno()] if self._passwords else [])]

    def __getstate__(self) -> dict[str, Any]:
        state = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**state, "_passwords": self._passwords.fileno() if self._passwords else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        if self._passwords is not None:
            self._passwords = os.fdopen(state["_passwords"], encoding="utf-8", newline="\n")

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
        """The rows, checked, with the hashes of their passwords.

        Raises PasswordsFound where there are some and nobody has prepared for them.
        """
        passwords = None if self._rehearses else self._passwords
        known = _read_passwords(passwords)
        for rows in prepare(self.chunks(read), self.rules):
            if passwords is not None:
                found = itertools.islice(known, len(rows.lines))
                rows.hashes = [
                    password.hashed or (UNHASHED if password.kind == "given" else stored)
                    for password, stored in zip(found, rows.hashes, strict=True)
                ]
            elif any(rows.secrets):
                if not self._rehearses:
                    raise PasswordsFound
                rows.hashes = [
                    stored if secret is None else UNHASHED
                    for secret, stored in zip(rows.secrets, rows.hashes, strict=True)
                ]
            yield rows

    def begins_with_passwords(self) -> bool:
        """Whether the first rows have plain passwords."""
        first = next(prepare(self.chunks(), self.rules), None)
        return first is not None and any(first.secrets)

    def rehearse(self) -> None:
        """From now on ``rows`` gives UNHASHED for every plain password, and generates none."""
        self._rehearses = True

    def count_unhashed(self, needs: Iterator[Need], *, generate: bool) -> int:
        """How many passwords ``hash_passwords`` would hash."""
        return sum(secret is not None for _, secret in self._to_hash(needs, generate=generate))

    def hash_passwords(self, needs: Iterator[Need], *, generate: bool, hashed: Progress) -> None:
        """Hash the passwords of the rows that need it, on all cores.

        With ``generate``, rows without a password get one where they are for new users. What was
        hashed before is not hashed again. ``hashed`` is told the number of hashes made since the
        last call.
        """
        made = temporary_lines()
        try:
            to_hash = self._to_hash(needs, generate=generate)
            for password, new in hash_all(to_hash, self.rules.costs, progress=hashed):
                made.write("\t".join(map(str, password._replace(hashed=new or password.hashed))))
                made.write("\n")
            made.flush()
        except BaseException:
            made.close()
            raise
        self.close()
        self._passwords, self._rehearses = made, False

    def _to_hash(
        self, needs: Iterator[Need], *, generate: bool
    ) -> Iterator[tuple[_Password, str | None]]:
        """The passwords of all rows, with what is to be hashed where something is."""
        before = _read_passwords(self._passwords)
        need = next(needs, None)
        for rows in prepare(self.chunks(), self.rules):
            columns = (rows.numbers, rows.emails, rows.secrets, rows.hashes)
            for number, email, secret, stored in zip(*columns, strict=True):
                while need is not None and need.number < number:
                    need = next(needs, None)
                needed = need if need is not None and need.number == number else None
                known = next(before, None)
                if secret is not None:
                    hashed = known.hashed if known else ""
                    wanted = secret if needed and not hashed else None
                    yield _Password("given", number, hashed), wanted
                elif not generate or stored is not None:
                    yield _Password("", number), None
                elif needed is None or not needed.is_new:
                    yield _Password("generated", number), None
                elif known is not None and known.hashed:
                    yield known, None
                else:
                    wanted = generate_password()
                    yield _Password("generated", number, "", email, wanted), wanted

    def has_hashes_for(self, needs: Iterator[Need]) -> bool:
        """Whether every row that needs it has its hash, and no user who exists a generated one."""
        if self._passwords is None:
            return True
        known = _read_passwords(self._passwords)
        for need in needs:
            password = next(p for p in known if p.number == need.number)
            if password.kind == "given" and not password.hashed:
                return False
            if password.kind == "generated" and bool(password.hashed) != need.is_new:
                return False
        return True

    def close(self) -> None:
        """Remove what is on disk."""
        if self._passwords is not None:
            self._passwords.close()

    def generated(self) -> Iterator[tuple[int, str, str]]:
        """The (number, e-mail, password) of the rows that got a password, by number."""
        for password in _read_passwords(self._passwords):
            if password.generated:
                yield password.number, password.email, password.generated


class Need(NamedTuple):
    """A row whose password, if it has one, is stored; ``is_new`` when its user is created."""

    number: int
    is_new: bool


def find_needs(outcomes: Iterable[RowOutcome], *, set_passwords: bool) -> Iterator[Need]:
    """The rows whose passwords are stored; ``set_passwords`` stores those of users that exist."""
    for row in outcomes:
        if row.outcome == "created" or (row.outcome == "updated" and set_passwords):
            yield Need(row.number, row.outcome == "created")


def _read_passwords(passwords: IO[str] | None) -> Iterator[_Password]:
    """The passwords of all rows, by number."""
    if passwords is None:
        return
    blocks = io.BufferedReader(Blocks(passwords), BLOCK)
    for text in io.TextIOWrapper(blocks, encoding="utf-8", newline="\n"):
        kind, number, hashed, email, generated = text.rstrip("\n").split("\t")
        yield _Password(kind, int(number), hashed, email, generated)
