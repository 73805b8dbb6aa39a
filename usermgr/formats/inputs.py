"""Input files: opened, decompressed and decoded as a stream, whatever they hold.

gzip and Zstandard are known by their first bytes. A regular file is read in place; a pipe is
spooled to a temporary file without a name first, so that nothing has to wait for it later and it
can be read again. Memory is bounded, also inside a decompression bomb: a row longer than
``ROW_MAX_BYTES`` is an error.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

from usermgr.errors import Conflict, InvalidInput, Unavailable
from usermgr.formats.files import temporary_file, zstandard
from usermgr.names import visible

ROW_MAX_BYTES: Final = 256 * 1024
BLOCK: Final = 256 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZSTD_WINDOW_LOG: Final = 26
"""64 MiB: what `zstd` itself makes without --long or --ultra stays well below."""

Progress = Callable[[int], None]
"""Is told how many bytes of the file, as stored, were read so far."""


class OverlongLine(Exception):
    """The line behind those that were given out has more than ROW_MAX_BYTES."""


class OverlongRows(Exception):
    """The rows that are asked for have more than ROW_MAX_BYTES each."""


class InputText(io.TextIOWrapper):
    """The text of an input file. Raises OverlongLine, and OverlongRows where rows are announced."""

    @property
    def bytes_read(self) -> int:
        """How many decompressed bytes were read so far, some of which are still buffered."""
        content: _Content = self.buffer  # type: ignore[assignment]
        return content.bytes_read

    def announce(self, rows: int) -> None:
        """Say how many rows are read next, each of which may have many lines."""
        content: _Content = self.buffer  # type: ignore[assignment]
        content.allowed = content.bytes_read + rows * ROW_MAX_BYTES + BLOCK


def _ignore(_: int) -> None:
    pass


class InputFile:
    """A file that can be read more than once, from its beginning.

    ``name`` is for messages, and may tell the format. ``size`` is in bytes, as stored.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        # Of a redirected stdin somebody else may have read the beginning.
        self._start = os.lseek(file.fileno(), 0, os.SEEK_CUR)
        self.name = name
        self._state = _state(file)
        self.size = max(0, self._state[0] - self._start)

    @property
    def descriptor(self) -> int:
        """The open file's number, which another process may inherit."""
        return self._file.fileno()

    def __reduce__(self) -> tuple[Any, ...]:
        return _inherited, (self.descriptor, self.name, self._start, self._state)

    @contextlib.contextmanager
    def text(
        self, encoding: str | None = None, *, lines: bool = True, progress: Progress = _ignore
    ) -> Iterator[InputText]:
        """The decoded content, from its beginning; line ends are left as they are.

        Without ``encoding`` a byte-order mark decides, else it is UTF-8. Bytes that are no UTF-8
        become lone surrogates, so that only the row they stand in is refused. Raises InvalidInput
        for damaged compression, and text that is not in the encoding. With ``lines`` the length of
        lines is bounded.
        """
        blocks = Blocks(self._file, self._start, progress)
        with _readable(self.name):
            content = _Content(_decompressed(blocks, self._first_bytes()), lines=lines)
            _refuse_other_files(content, self.name)
            codec, errors = _codec(content, encoding, self.name)
            yield InputText(cast(Any, content), encoding=codec, errors=errors, newline="")

    def require_unchanged(self) -> None:
        """Raise Conflict when somebody has written to the file since it was opened."""
        if _state(self._file) != self._state:
            raise Conflict(
                f'"{visible(self.name)}" was changed while it was read; nothing was stored',
                hint="run the import again when the file is complete",
            )

    def _first_bytes(self) -> bytes:
        return os.pread(self._file.fileno(), 4, self._start)


def _inherited(descriptor: int, name: str, start: int, state: tuple[int, int]) -> InputFile:
    """The same file in a process that inherited its descriptor."""
    file = InputFile(os.fdopen(descriptor, "rb"), name)
    file._start, file._state = start, state
    file.size = max(0, state[0] - start)
    return file


@contextlib.contextmanager
def open_input(name: str, stdin: BinaryIO) -> Iterator[InputFile]:
    """The file of that name, or stdin for ``-``; what is not a regular file is spooled first.

    Reading a pipe can be interrupted at any time. Raises InvalidInput when the file cannot be read,
    and Unavailable when the disk has no room for the spool.
    """
    with contextlib.ExitStack() as stack:
        if name == "-":
            file, shown = stdin, "stdin"
        else:
            file, shown = stack.enter_context(_open(Path(name))), name
        if not _is_regular(file):
            file = stack.enter_context(_spooled(file, shown))
        yield InputFile(file, shown)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name holds a NUL"
        raise InvalidInput(f'"{visible(str(path))}" cannot be read: {reason}') from error


def _is_regular(file: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except io.UnsupportedOperation:  # a stream in memory
        return False


@contextlib.contextmanager
def _spooled(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    with temporary_file("w+b", buffering=0) as spool:
        while block := _next_block(file, name):
            write_block(spool, block, name)
        spool.seek(0)
        yield cast(BinaryIO, spool)


def _next_block(file: BinaryIO, name: str) -> bytes:
    try:
        block: bytes = file.read1(BLOCK)  # type: ignore[attr-defined]
    except OSError as error:
        raise InvalidInput(f'"{visible(name)}" cannot be read: {error.strerror}') from error
    return block


def write_block(spool: IO[bytes], block: bytes, name: str) -> None:
    """Copy a block of the named file. Raises Unavailable when the disk has no room for it."""
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[spool.write(rest) :]
    except OSError as error:
        raise Unavailable(
            f'"{visible(name)}" cannot be copied to "{tempfile.gettempdir()}": {error.strerror}',
            hint="free space there, or name another folder in TMPDIR",
        ) from error


def _state(file: BinaryIO) -> tuple[int, int]:
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _decompressed(file: io.RawIOBase, first: bytes) -> io.RawIOBase | io.BufferedIOBase:
    if first.startswith(_GZIP):
        import gzip

        return gzip.GzipFile(fileobj=file)
    if first.startswith(_ZSTD):
        zstd = zstandard()
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        return cast(io.BufferedIOBase, zstd.ZstdFile(file, options=options))
    return file


_OTHER_FILES: Final = (
    (b"PK\x03\x04", "a zip archive, as .xlsx and .ods are", "save the sheet as csv, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "a document of an office program", "save it as csv"),
    (b"SQLite format 3\0", "a SQLite database", "write its rows with: sqlite3 -csv -header"),
    (b"BZh", "compressed by bzip2", "bzip2 -dc FILE | usermgr user import - ..."),
    (b"\xfd7zXZ\0", "compressed by xz", "xz -dc FILE | usermgr user import - ..."),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"%PDF-", "a PDF document", "export it as csv where it comes from"),
)
"""How files begin that are mistaken for text, what they are, and what to do with them."""


def _refuse_other_files(content: _Content, name: str) -> None:
    for beginning, what, advice in _OTHER_FILES:
        if content.begins_with(beginning):
            raise InvalidInput(f'"{visible(name)}" is no text: it is {what}', hint=advice)


def _codec(content: _Content, encoding: str | None, name: str) -> tuple[str, str]:
    mark = next((m for m in _BYTE_ORDER_MARKS if content.begins_with(m[0])), None)
    if encoding is None:
        if mark is None and content.has_wide_characters():
            raise InvalidInput(
                f'"{visible(name)}" looks like UTF-16 without a byte-order mark',
                hint="name its encoding: --encoding utf-16-le, or utf-16-be",
            )
        if mark is None:
            return "utf-8", "surrogateescape"
        content.skip(len(mark[0]))
        return mark[1], "surrogateescape" if mark[1] == "utf-8" else "strict"
    codec = _text_codec(encoding)
    if codec is None:
        raise InvalidInput(
            f'no encoding "{visible(encoding)}"',
            hint="name one that Python knows, such as utf-8, utf-16 or latin-1",
        )
    if mark is not None and codec == mark[1]:
        content.skip(len(mark[0]))
    return codec, "surrogateescape" if codec == "utf-8" else "strict"


def _text_codec(encoding: str) -> str | None:
    """The codec's own name; None for one of bytes, such as hex, and where there is none."""
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        return None


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    """Tell what reading a damaged or unsuitable file raises."""
    shown = visible(name)
    try:
        yield
    except EOFError as error:
        raise InvalidInput(
            f'"{shown}" is cut off: its compressed data end too early',
            hint="copy or compress it again",
        ) from error
    except UnicodeError as error:
        raise InvalidInput(
            f'"{shown}" is not text in the encoding that was named or that it begins with',
            hint="name its encoding with --encoding",
        ) from error
    except OSError as error:
        if error.errno is None:  # gzip's own errors carry no number
            raise _damaged(shown) from error
        raise InvalidInput(f'"{shown}" cannot be read: {error.strerror}') from error
    except Exception as error:
        if type(error).__name__ not in ("ZstdError", "error"):  # those of zstd and of zlib
            raise
        raise _damaged(shown) from error


def _damaged(shown: str) -> InvalidInput:
    return InvalidInput(
        f'"{shown}" is damaged: its compressed data cannot be read',
        hint="copy or compress it again",
    )


class Blocks(io.RawIOBase):
    """Reads a file from a position on, and tells how far it is.

    The position is its own: who else reads the file, also in another process, is not disturbed.
    """

    def __init__(self, file: IO[Any], start: int = 0, progress: Progress = _ignore) -> None:
        self._descriptor, self._start, self._position = file.fileno(), start, start
        self._progress = progress

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; returns the number of bytes, 0 at the end."""
        number = os.preadv(self._descriptor, [buffer], self._position)
        self._position += number
        self._progress(self._position - self._start)
        return number


class _Content(io.BufferedIOBase):
    """The decompressed bytes in blocks; with ``lines`` a line above ROW_MAX_BYTES is refused.

    More than ``allowed`` bytes are refused as well, where that is set.
    """

    def __init__(self, file: io.RawIOBase | io.BufferedIOBase, *, lines: bool) -> None:
        self._file, self._lines = file, lines
        self.allowed: int | None = None
        self._line_bytes = self.bytes_read = 0
        self._first: bytes | None = self._block()

    def readable(self) -> bool:
        """True."""
        return True

    def begins_with(self, beginning: bytes) -> bool:
        """Whether the content begins so; asked before anything is read."""
        return self._first is not None and self._first.startswith(beginning)

    def has_wide_characters(self) -> bool:
        """Whether it begins with an ASCII character in two bytes."""
        return (self._first or b"")[:2].count(0) == 1

    def skip(self, number: int) -> None:
        """Pass over the first bytes."""
        self._first = (self._first or b"")[number:]

    def read1(self, _size: int = -1) -> bytes:
        """The next block, whatever its size; nothing at the end."""
        block, self._first = self._first, None
        return block or self._block()

    def _block(self) -> bytes:
        block = self._file.read(BLOCK) or b""
        self.bytes_read += len(block)
        if self._lines:
            self._require_short_lines(block)
        if self.allowed is not None and self.bytes_read > self.allowed:
            raise OverlongRows
        return block

    def _require_short_lines(self, block: bytes) -> None:
        end = max(block.rfind(b"\n"), block.rfind(b"\r"))
        self._line_bytes = len(block) - end - 1 if end >= 0 else self._line_bytes + len(block)
        if self._line_bytes > ROW_MAX_BYTES:
            raise OverlongLine
