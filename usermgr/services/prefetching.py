"""Working ahead: an iterator runs in a thread of its own while its items are used."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class _End(Exception):
    """Stands behind the last item."""


class _Ahead(Generic[T]):
    """Fills a queue with the items, and with the error that ends them."""

    def __init__(self, items: Iterator[T], ahead: int) -> None:
        self._items = items
        self._ready: queue.Queue[tuple[T, None] | tuple[None, BaseException]] = queue.Queue(ahead)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while True:
            item, error = self._ready.get()
            if error is None:
                yield item  # type: ignore[misc]
            elif isinstance(error, _End):
                return
            else:
                raise error

    def stop(self) -> None:
        """End with the item that is being made."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            for item in self._items:
                self._put((item, None))
                if self._stopped.is_set():
                    return
            self._put((None, _End()))
        except BaseException as error:  # noqa: BLE001 - raised again where the item is asked for
            self._put((None, error))

    def _put(self, item: tuple[T, None] | tuple[None, BaseException]) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(item, timeout=0.1)
                return


@contextlib.contextmanager
def prefetched(items: Iterator[T], *, ahead: int = 2) -> Iterator[Iterator[T]]:
    """The items, of which up to ``ahead`` are made in advance. Errors come out where they belong.

    When the block ends, the thread ends with the item it is making.
    """
    worker = _Ahead(items, ahead)
    try:
        yield iter(worker)
    finally:
        worker.stop()
