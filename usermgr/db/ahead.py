"""Working ahead: items are made in a thread of its own while the ones before are used."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

T = TypeVar("T")

ITEMS: Final = 2
"""How many wait to be taken."""


class _NotWanted(Exception):
    """Raised in the thread that makes items when nobody takes them any more."""


class _End(Exception):
    """Stands behind the last item."""


class Ahead(Generic[T]):
    """The items that ``make`` gives to the function it is called with, in a thread of its own.

    The thread starts when the first item is asked for: whoever is interrupted before has nothing to
    stop. An error of ``make`` comes out behind the items before it. ``exhausted`` tells whether the
    last item was taken, ``ended`` whether that or the error was.
    """

    def __init__(self, make: Callable[[Callable[[T], None]], None]) -> None:
        self._make = make
        self._ready: queue.Queue[tuple[T, None] | tuple[None, BaseException]] = queue.Queue(ITEMS)
        self._stopped = threading.Event()
        self.exhausted = self.ended = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def items(self, *, patience: float | None = None) -> Iterator[T]:
        """The items in their order. Raises TimeoutError when one takes longer than ``patience``."""
        # An interrupt in the middle of the start would leave it open whether there is a thread.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        while True:
            try:
                item, error = self._ready.get(timeout=patience)
            except queue.Empty:
                raise TimeoutError from None
            if error is None:
                yield item  # type: ignore[misc]
                continue
            self.ended = True
            self._thread.join()
            if not isinstance(error, _End):
                raise error
            self.exhausted = True
            return

    def stop(self) -> None:
        """End the thread with the item it is making, and wait for that."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            self._make(self._put)
            self._put_any((None, _End()))
        except _NotWanted:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where the item is asked for
            with contextlib.suppress(_NotWanted):
                self._put_any((None, error))

    def _put(self, item: T) -> None:
        self._put_any((item, None))

    def _put_any(self, what: tuple[T, None] | tuple[None, BaseException]) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(what, timeout=0.1)
                return
        raise _NotWanted


@contextlib.contextmanager
def prefetched(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """The items, of which a few are made in advance. Errors come out where they belong.

    When the block ends, the thread ends with the item it is making.
    """

    def make(put: Callable[[T], None]) -> None:
        for item in items:
            put(item)

    worker = Ahead(make)
    try:
        yield worker.items()
    finally:
        worker.stop()
