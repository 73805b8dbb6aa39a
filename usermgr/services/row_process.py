"""Frames from a process beside this one, so that reading and checking a file has a core of its own.

A thread would not do: both would wait for the interpreter's lock, and the database for them. The
process gets its work and the answers to its questions on stdin, and gives frames on stdout,
pickled: both ends are this program. It ends when this process does, however that happens, because
its pipes break.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Final, Protocol, cast

from usermgr import errors
from usermgr.errors import Unavailable, UserMgrError
from usermgr.services.frames import (
    AskIds,
    Frame,
    FrameOptions,
    FrameSource,
    Kind,
    PasswordsFound,
    Resolve,
    make_frames,
)
from usermgr.services.rows import Rows

F_SETPIPE_SZ: Final = getattr(fcntl, "F_SETPIPE_SZ", 1031)
PIPE_BYTES: Final = 1024 * 1024

REMEMBERED: Final = 100_000
"""How many names of roles and claims the process keeps the ids of."""

WORTH_BYTES: Final = 2 * 1024 * 1024
"""Smaller files are read sooner than a process starts."""


class RowSource(Protocol):
    """Where rows come from, again from the first one on whenever they are asked for.

    It can be pickled for a process that inherits its ``descriptors``. ``read`` is told how far it
    is, in bytes of about ``size_bytes``.
    """

    @property
    def size_bytes(self) -> int: ...

    def descriptors(self) -> list[int]: ...

    def rows(self, read: Callable[[int], None]) -> Iterator[Rows]: ...


@contextlib.contextmanager
def frame_source(source: RowSource, *, read: Callable[[int], None]) -> Iterator[FrameSource]:
    """What gives the frames of the source's rows, as often as it is called.

    The process for the first call starts now, while the caller connects to its database.
    """
    with contextlib.ExitStack() as stack:
        large = source.size_bytes >= WORTH_BYTES
        started = [stack.enter_context(_process(source.descriptors()))] if large else []

        @contextlib.contextmanager
        def frames(
            options: FrameOptions, resolve: Resolve, ask_ids: AskIds
        ) -> Iterator[Iterator[Frame]]:
            if not large:
                yield make_frames(source.rows(read), options, resolve, ask_ids)
                return
            with contextlib.ExitStack() as own:
                process = _process(source.descriptors())
                questions, answers = started.pop() if started else own.enter_context(process)
                _answer(answers, (source, options))
                yield _receive(questions, answers, resolve, ask_ids, read)

        yield frames


@contextlib.contextmanager
def _process(descriptors: Sequence[int]) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    # A signal to the group is for this process, which ends that one. It inherits what is blocked:
    # to ignore signals by itself it would have to live some time first.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        process = subprocess.Popen(  # noqa: S603 - this program
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=descriptors,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        frames = cast(IO[bytes], process.stdout)
        with contextlib.suppress(OSError):  # A frame then crosses in a few steps.
            fcntl.fcntl(frames, F_SETPIPE_SZ, PIPE_BYTES)
        yield frames, cast(IO[bytes], process.stdin)
    finally:
        process.kill()
        with contextlib.suppress(OSError):
            process.communicate()


def _receive(
    questions: IO[bytes],
    answers: IO[bytes],
    resolve: Resolve,
    ask_ids: AskIds,
    read: Callable[[int], None],
) -> Iterator[Frame]:
    while True:
        try:
            kind, content, position = pickle.load(questions)  # noqa: S301 - from this program
        except EOFError as error:
            raise Unavailable(
                "the process that reads the file was ended",
                hint="the system's log tells whether memory was short",
            ) from error
        if kind == "end":
            return
        if kind == "error":
            raise _error(*content)
        if kind == "frame":
            read(position)
            yield content
        elif kind == "ids":
            _answer(answers, ask_ids(content)())
        else:
            _answer(answers, dict(resolve(kind, content)))


def _answer(answers: IO[bytes], message: object) -> None:
    # Where the process has ended, what it told before says why. A broken pipe must not leave this
    # module: it would be taken for the reader of the program's output, who may leave.
    with contextlib.suppress(BrokenPipeError):
        _send(answers, message)


def _error(name: str, message: str, hint: str | None, details: dict[str, Any]) -> Exception:
    if name == PasswordsFound.__name__:
        return PasswordsFound()
    found = getattr(errors, name, None)
    if found is None:
        return RuntimeError(f"{name}: {message}")
    error: Exception = found(message, hint=hint, details=details)
    return error


def _send(file: IO[bytes], message: object) -> None:
    pickle.dump(message, file, protocol=5)
    file.flush()


class _Worker:
    """The other end: asks on stdout, hears on stdin."""

    def __init__(self, asked: IO[bytes], heard: IO[bytes]) -> None:
        self._asked, self._heard = asked, heard
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ids: deque[Sequence[int]] = deque()
        self._known: dict[tuple[Kind, str], int | None] = {}
        self._position = 0

    def work(self) -> None:
        """Make the frames of the source that is sent first."""
        source, options = pickle.load(self._heard)  # noqa: S301 - from this program
        # Answers are taken in at once: a full pipe would keep the other end from reading frames.
        threading.Thread(target=self._listen, daemon=True).start()
        for frame in make_frames(source.rows(self._note), options, self._resolve, self._ask_ids):
            self._tell("frame", frame)
        self._tell("end", None)

    def fail(self, error: Exception) -> None:
        """Tell the error in place of a frame."""
        if isinstance(error, UserMgrError):
            told = (type(error).__name__, error.message, error.hint, error.details)
        else:
            told = (type(error).__name__, "while the file was read", None, {})
        self._tell("error", told)

    def _tell(self, kind: str, content: object) -> None:
        _send(self._asked, (kind, content, self._position))

    def _note(self, position: int) -> None:
        self._position = position

    def _ask_ids(self, number: int) -> Callable[[], Sequence[int]]:
        self._tell("ids", number)
        return self._next_ids

    def _next_ids(self) -> Sequence[int]:
        while not self._ids:
            self._hear()
        return self._ids.popleft()

    def _resolve(self, kind: Kind, names: Iterable[str]) -> Mapping[str, int | None]:
        names = list(names)
        unknown = [name for name in names if (kind, name) not in self._known]
        if len(self._known) > REMEMBERED:
            self._known.clear()
            unknown = names
        if unknown:
            self._tell(kind, unknown)
            while (answer := self._hear()) is None:
                pass
            self._known |= {(kind, name): key for name, key in answer.items()}
        return {name: self._known[kind, name] for name in names}

    def _listen(self) -> None:
        while True:
            try:
                self._answers.put(pickle.load(self._heard))  # noqa: S301 - from this program
            except (EOFError, OSError):
                self._answers.put(None)
                return

    def _hear(self) -> dict[str, int | None] | None:
        """An answer, or None when it was ids."""
        answer = self._answers.get()
        if answer is None:
            raise EOFError
        if isinstance(answer, dict):
            return answer
        self._ids.append(answer)
        return None


def _main() -> None:
    gc.disable()  # Rows make no cycles, and looking for some takes a tenth of the time.
    worker = _Worker(sys.stdout.buffer, sys.stdin.buffer)
    with contextlib.suppress(BrokenPipeError, EOFError):
        try:
            worker.work()
        except (BrokenPipeError, EOFError):
            raise
        except Exception as error:  # noqa: BLE001 - told to the process before it
            worker.fail(error)
    # The thread that listens may hold stdin's lock, which the interpreter's end would wait for.
    os._exit(0)


if __name__ == "__main__":
    _main()
