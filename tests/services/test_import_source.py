"""The file of an import: what is read of it is one file, and not two."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from usermgr.errors import Conflict
from usermgr.formats.inputs import InputFile
from usermgr.services.import_source import ImportSource
from usermgr.services.rows import RowRules

ROWS = 30_000
LINE = b"Person number %d,p%d@example.com,member\n"


def csv_bytes(rows: int = ROWS) -> bytes:
    return b"name,email,role\n" + b"".join(LINE % (n, n) for n in range(rows))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"X,x@example.com,member\n")


def overwrite(path: Path) -> None:
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(content.replace(b"Person", b"Nobody"))


def leave_a_quote(path: Path) -> None:
    path.write_bytes(b'name,email,role\n"A')


CHANGES: dict[str, Callable[[Path], None]] = {
    "truncated in a row": lambda path: os.truncate(path, path.stat().st_size // 2 + 5),
    "truncated in a quoted cell": leave_a_quote,
    "emptied": lambda path: os.truncate(path, 0),
    "appended to": append,
    "overwritten": overwrite,
}


@contextlib.contextmanager
def source_of(path: Path) -> Iterator[ImportSource]:
    with path.open("rb") as file:
        yield ImportSource(InputFile(file, path.name), RowRules(password_min_length=12))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_a_file_that_is_changed_while_it_is_read_is_refused(name: str, change: str) -> None:
    path = Path(name)
    content = csv_bytes()
    path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    with source_of(path) as source:
        chunks = source.chunks()
        assert len(next(chunks).lines) < ROWS
        CHANGES[change](path)
        with pytest.raises(Conflict, match=f'"{name}" was changed while it was read'):
            list(chunks)
        with pytest.raises(Conflict):
            next(source.chunks())


def test_a_file_that_is_replaced_is_read_as_it_was() -> None:
    path = Path("x.csv")
    path.write_bytes(csv_bytes())
    with source_of(path) as source:
        chunks = source.chunks()
        read = len(next(chunks).lines)
        Path("other").write_bytes(b"name,email,role\n")
        Path("other").replace(path)
        assert read + sum(len(chunk.lines) for chunk in chunks) == ROWS
