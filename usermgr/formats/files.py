"""Files that appear only when they are complete."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, cast

from usermgr.errors import InvalidInput, Unavailable
from usermgr.names import visible

COMPRESSED: Final = (".gz", ".zst")
"""The endings of names whose files are compressed."""

_O_TMPFILE: Final[int | None] = getattr(os, "O_TMPFILE", None)


class PendingFile:
    """A text file in the making. Until ``publish`` nothing is seen of it, also after a kill.

    It takes the place of what is there, behind symbolic links too. A pipe or a device, and where
    stdout or stderr go, is written to instead: when the file is published, or at once if it is
    ``direct``. A name that ends with .gz or .zst means a compressed file.

    Raises InvalidInput when it cannot be made or, with ``must_be_new``, is there already, and
    Unavailable when it cannot be written. When the block fails, also after ``publish``, no new file
    is left unless ``keep`` was called; one that was there before and was not replaced yet stays.
    ``errors`` says what becomes of half surrogates, as for ``open``.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: int = 0o666,
        must_be_new: bool = False,
        direct: bool = False,
        errors: str = "strict",
    ) -> None:
        self.path, self._mode, self._must_be_new, self._errors = path, mode, must_be_new, errors
        self._direct = direct
        self._target = Path(os.path.realpath(path))
        self._temporary: Path | None = None
        self._stream: int | None = None
        self._published = self._kept = False
        if must_be_new and os.path.lexists(path):
            raise self._exists()
        found = _found(path)
        if found and stat.S_ISDIR(found.st_mode):
            raise InvalidInput(f'"{visible(str(path))}" is a folder', hint="name a file in it")
        if found and not (stat.S_ISREG(found.st_mode) or is_stream(path)):
            raise InvalidInput(f'"{visible(str(path))}" is neither a file nor a pipe')

    def __enter__(self) -> PendingFile:
        try:
            if is_stream(self.path):
                self._stream = _open_stream(self.path)
            else:
                descriptor = self._make()
        except OSError as error:
            raise InvalidInput(
                f'the file "{visible(str(self.path))}" cannot be made: {error.strerror}',
                hint="check that its folder exists and is writable",
            ) from error
        if self._stream is None:
            self._file: IO[bytes] = os.fdopen(descriptor, "wb")
        elif self._direct:
            self._file = os.fdopen(self._stream, "wb")
        else:
            self._file = temporary_file("w+b")
        self._packed = _compressed(self._file, self.path.name)
        self.text: IO[str] = io.TextIOWrapper(
            cast(Any, self._packed or self._file), "utf-8", self._errors, newline=""
        )
        return self

    def publish(self) -> None:
        """Let the file appear, complete and on the disk."""
        with self.writing():
            self.text.flush()
            if self._packed is not None:
                self._packed.close()
            self._file.flush()
            if self._stream is None:
                os.fsync(self._file.fileno())
                self._appear()
            elif not self._direct:
                self._file.seek(0)
                with os.fdopen(self._stream, "wb", closefd=False) as stream:
                    shutil.copyfileobj(self._file, stream)
        self._published = True

    def keep(self) -> None:
        """Let the published file stay whatever happens next."""
        self._kept = True

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Tell why the block could not write; what it wrote is on its way when it ends."""
        try:
            yield
            if not self.text.closed:
                self.text.flush()
        except OSError as error:
            raise Unavailable(
                f'the file "{visible(str(self.path))}" cannot be written: {error.strerror}',
                hint="free space there, or name a file elsewhere",
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for file in (self.text, self._file):
            with contextlib.suppress(OSError):
                file.close()
        if self._stream is not None and not self._direct:
            os.close(self._stream)
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
        if kind is not None and self._published and self._must_be_new and not self._kept:
            self.path.unlink(missing_ok=True)

    def _make(self) -> int:
        """A new file in the target's folder: without a name where the file system has such."""
        folder = self._target.parent
        with contextlib.suppress(FileNotFoundError):
            self.path.stat()  # A name that cannot be is told now, and not at the end.
        descriptor = _without_name(folder)
        if descriptor is None:
            descriptor, name = tempfile.mkstemp(prefix=".usermgr-", dir=folder)
            self._temporary = Path(name)
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(descriptor, self._mode & ~umask)
        return descriptor

    def _appear(self) -> None:
        if self._must_be_new:
            try:
                self._link(self.path)
            except FileExistsError as error:
                raise self._exists() from error
        elif self._temporary is not None:
            self._temporary.replace(self._target)
        else:
            self._take_the_place()
        with contextlib.suppress(OSError):
            _sync_folder(self._target.parent)

    def _take_the_place(self) -> None:
        try:
            self._link(self._target)
        except FileExistsError:
            # Only a name can take the place of another one.
            name = self._target.with_name(f".usermgr-{os.urandom(8).hex()}")
            self._link(name)
            self._temporary = name
            name.replace(self._target)

    def _link(self, name: Path) -> None:
        if self._temporary is not None:
            os.link(self._temporary, name)
            return
        number = self._file.fileno()
        # With a folder's descriptor, of which an absolute name makes no use, links are followed.
        os.link(f"/proc/self/fd/{number}", name, src_dir_fd=number, follow_symlinks=True)

    def _exists(self) -> InvalidInput:
        return InvalidInput(
            f'the file "{visible(str(self.path))}" exists already',
            hint="move it away, or name another one",
        )


def is_stream(path: Path) -> bool:
    """Whether what is written to the path goes on at once, so that nothing there can be replaced.

    That is a pipe, a device of characters, or where stdout or stderr of this process go.
    """
    found = _found(path)
    if found is None:
        return False
    passes_on = stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode)
    return passes_on or _own_number(found) is not None


def content_ending(name: str) -> str:
    """The ending that tells the format, without dot and in lower case; .gz and .zst say nothing."""
    name = Path(name).name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    _, dot, ending = name.rpartition(".")
    return ending if dot else ""


def zstandard() -> Any:
    """The module that compresses by Zstandard: Python's own, or its backport."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    return zstd


def require_apart(outputs: Mapping[str, Path | None], used: Mapping[str, Path | int]) -> None:
    """Raise InvalidInput when an output would replace another one, or what is in use.

    The keys say what the files are. Those in use are named or open. None is no file.
    """
    seen: dict[str, Path] = {}
    for what, path in outputs.items():
        if path is None:
            continue
        shown = visible(str(path))
        for other, place in used.items():
            if _is_same(path, place):
                raise InvalidInput(f'{what} "{shown}" is {other}', hint="name another file")
        for other, earlier in seen.items():
            if _is_same(path, earlier) and not is_stream(path):
                raise InvalidInput(
                    f'{other} and {what} name the same file "{shown}"', hint="name two files"
                )
        seen[what] = path


def temporary_lines() -> IO[Any]:
    """A file without a name for lines of text; it goes with its last user."""
    return temporary_file("w+", encoding="utf-8", newline="\n")


def temporary_file(mode: str, **options: Any) -> IO[Any]:
    """A file without a name, opened with what ``open`` takes. Raises Unavailable where none can be.

    Every import needs some, also in a container whose own files nobody may write.
    """
    try:
        return tempfile.TemporaryFile(mode, prefix="usermgr-", **options)
    except OSError as error:
        raise Unavailable(
            f"no temporary file can be made: {error.strerror}",
            hint="name a folder that can be written in TMPDIR",
        ) from error


def _found(path: Path | int) -> os.stat_result | None:
    try:
        return path.stat() if isinstance(path, Path) else os.fstat(path)
    except OSError:
        return None


def _is_same(path: Path, other: Path | int) -> bool:
    if isinstance(other, Path) and os.path.realpath(path) == os.path.realpath(other):
        return True
    found, others = _found(path), _found(other)
    return found is not None and others is not None and os.path.samestat(found, others)


def _own_number(found: os.stat_result) -> int | None:
    """The number of this process's stdout or stderr, where the file is what it goes to."""
    for number in (1, 2):
        own = _found(number)
        if own is not None and os.path.samestat(found, own):
            access = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
            return None if access == os.O_RDONLY else number
    return None


def _open_stream(path: Path) -> int:
    """Opening a pipe waits for its reader."""
    found = _found(path)
    number = _own_number(found) if found else None
    if number is not None:  # Opened once more, a file would be written from its beginning.
        return os.dup(number)
    return os.open(path, os.O_WRONLY | os.O_NOCTTY)


def _without_name(folder: Path) -> int | None:
    if _O_TMPFILE is None:
        return None
    try:
        descriptor = os.open(folder, _O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:
        return None
    if not Path(f"/proc/self/fd/{descriptor}").exists():  # It could get no name later.
        os.close(descriptor)
        return None
    return descriptor


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _compressed(file: IO[bytes], name: str) -> io.BufferedIOBase | None:
    """What compresses into the file, where the name asks for that; closed before the file is."""
    ending = Path(name).suffix.lower()
    if ending == ".gz":
        import gzip

        return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
    if ending == ".zst":
        return cast(io.BufferedIOBase, zstandard().ZstdFile(file, mode="wb"))
    return None
