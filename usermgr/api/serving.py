"""Running the application: one process, or several that end with the one that started them.

SIGTERM and SIGINT end it well: /readyz says so, no connection is taken any more, and running
requests get 25 seconds. The exit status is then 0.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final, cast

import uvicorn

import usermgr
from usermgr.api.app import build_app
from usermgr.api.logs import begin_log
from usermgr.api.metrics import FOLDER_VARIABLE, forget_process
from usermgr.api.protocol import patient_protocol
from usermgr.api.runtime import Runtime, make_runtime
from usermgr.config import Settings
from usermgr.errors import Unavailable

GRACE_SECONDS: Final = 25
LOOK_SECONDS: Final = 0.2
AGAIN_SECONDS: Final = 1.0
"""How long a process that ended by itself is waited for before another one takes its place."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Work:
    """What one of so many processes is to do.

    ``developer`` is the digest of the secret of its own token.
    """

    settings: Settings
    developer: str | None = field(default=None, repr=False)
    processes: int = 1


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises Unavailable where that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on {host} port {port}: {error.strerror}",
            hint="another program may use the port; choose one with --port",
        ) from error
    # Every connection has it from here. asyncio would set it for sockets alone that say which
    # protocol they speak; without it an answer in two parts waits 40 ms for the client's
    # acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve_here(work: Work, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve in this process until a signal ends it; ``announce`` is called as soon as one does."""
    begin_log(sys.stderr)
    runtime = make_runtime(work.settings, developer=work.developer, processes=work.processes)
    config = uvicorn.Config(
        build_app(runtime),
        http=patient_protocol(work.settings.http_client_timeout),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _Server(config, runtime, announce).run(sockets=[listener])
    if threading.active_count() > 1 and any(t.name.startswith("AnyIO") for t in _others()):
        # A request is not done after all that time; nothing of it was committed.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def serve_beside(
    work: Work,
    listener: socket.socket,
    number: int,
    announce: Callable[[], None],
    *,
    reload: bool = False,
) -> None:
    """Serve in so many processes, each of which is replaced when it ends, until a signal ends this.

    With ``reload`` they are replaced whenever a file of the program changes.
    """
    work = replace(work, processes=number)
    with _signals() as was_told, tempfile.TemporaryDirectory(prefix="usermgr-") as folder:
        # Each process keeps its metrics there, so that any of them can tell the sum.
        start = functools.partial(_start, work, listener, Path(folder))
        workers = [start() for _ in range(number)]
        announce()
        files = _newest_change() if reload else 0.0
        while not was_told.wait(LOOK_SECONDS):
            if reload and (changed := _newest_change()) != files:
                files = changed
                _end(workers)
                workers = [start() for _ in range(number)]
            for place, worker in enumerate(workers):
                if worker.poll() is not None and not was_told.wait(AGAIN_SECONDS):
                    forget_process(Path(folder), worker.pid)
                    workers[place] = start()
        _end(workers)


def main() -> None:
    """One of the processes: gets its work on stdin, and ends when that does."""
    inbox = sys.stdin.buffer
    work, descriptor = pickle.load(inbox)  # noqa: S301 - from this program
    threading.Thread(target=_end_with_parent, args=(inbox.fileno(),), daemon=True).start()
    serve_here(work, socket.socket(fileno=descriptor), lambda: None)


class _Server(uvicorn.Server):
    """A server that ends with 0 after a signal, and tells the application before it does."""

    def __init__(
        self, config: uvicorn.Config, runtime: Runtime, announce: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._runtime, self._announce = runtime, announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and announce it: a signal that comes from now on is heard."""
        await super().startup(sockets)
        self._announce()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let signals end the server, and not the process."""
        former = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Take no more requests; a second Ctrl-C does not wait for those that run."""
        self._runtime.is_stopping = True
        super().handle_exit(sig, frame)


def _others() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t is not threading.current_thread()]


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that is set when a signal asks for the end."""
    told = threading.Event()
    former = {n: signal.signal(n, lambda *_: told.set()) for n in _SIGNALS}
    try:
        yield told
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _start(work: Work, listener: socket.socket, metrics: Path) -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(  # noqa: S603 - this program
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        env={**os.environ, FOLDER_VARIABLE: str(metrics)},
        pass_fds=[listener.fileno()],
    )
    inbox = cast(IO[bytes], worker.stdin)
    with contextlib.suppress(BrokenPipeError):  # It has ended already, which is seen soon.
        pickle.dump((work, listener.fileno()), inbox, protocol=5)
        inbox.flush()
    return worker


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + GRACE_SECONDS + 2
    for worker in workers:
        try:
            worker.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _end_with_parent(inbox: int) -> None:
    """Wait until the process that started this one is gone, however it went."""
    # Not through a file object: the interpreter's end would wait for its lock, and abort.
    while os.read(inbox, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _newest_change() -> float:
    folder = Path(usermgr.__file__).parent
    return max(path.stat().st_mtime for path in folder.rglob("*.py"))


if __name__ == "__main__":
    main()
