"""Files that appear only when they are complete."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from usermgr.errors import InvalidInput, Unavailable
from usermgr.names import visible


class PendingFile:
    """A text file in the making. Until ``publish`` nothing is seen of it.

    Raises InvalidInput when it cannot be made or, with ``must_be_new``, is there already, and
    Unavailable when it cannot be written. When the block fails, also after ``publish``, no file is
    left unless it is to be ``kept``; one that was there before and was not replaced yet stays.
    ``errors`` says what becomes of half surrogates, as for ``open``.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: int = 0o666,
        must_be_new: bool = False,
        kept: bool = False,
        errors: str = "strict",
    ) -> None:
        self.path, self._mode, self._must_be_new, self._kept = path, mode, must_be_new, kept
        self._errors = errors
        self._published = False
        if must_be_new and os.path.lexists(path):
            raise self._exists()
        if path.is_dir():
            raise InvalidInput(f'"{visible(str(path))}" is a folder', hint="name a file in it")

    def __enter__(self) -> PendingFile:
        folder = self.path.parent
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=folder)
        except OSError as error:
            raise InvalidInput(
                f'the file "{visible(str(self.path))}" cannot be made: {error.strerror}',
                hint="check that its folder exists and is writable",
            ) from error
        self._temporary = Path(name)
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(descriptor, self._mode & ~umask)
        self.text: IO[str] = os.fdopen(
            descriptor, "w", encoding="utf-8", errors=self._errors, newline=""
        )
        return self

    def publish(self) -> None:
        """Let the file appear, complete and on the disk."""
        with self.writing():
            self.text.flush()
            os.fsync(self.text.fileno())
            self.text.close()
            if self._must_be_new:
                self._link()
            else:
                self._temporary.replace(self.path)
        self._published = True

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
        with contextlib.suppress(OSError):
            self.text.close()
        self._temporary.unlink(missing_ok=True)
        if kind is not None and self._published and not self._kept:
            self.path.unlink(missing_ok=True)

    def _link(self) -> None:
        try:
            os.link(self._temporary, self.path)
        except FileExistsError as error:
            raise self._exists() from error

    def _exists(self) -> InvalidInput:
        return InvalidInput(
            f'the file "{visible(str(self.path))}" exists already',
            hint="move it away, or name another one",
        )


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
