"""Imports and exports take as long as they take: they have threads of their own, of which there are
few, so that they leave those of the other requests alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread

from usermgr.api.load_limits import LATER
from usermgr.api.problems import Problem

T = TypeVar("T")

AT_ONCE: Final = 4
"""How many one process works on."""


class Transfers:
    """The imports and exports of this process."""

    def __init__(self) -> None:
        self._running = 0
        self._threads: CapacityLimiter | None = None

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Work on one more. Raises the problem of too many."""
        if self._running >= AT_ONCE:
            detail = f"{AT_ONCE} imports and exports are being worked on"
            raise Problem(503, detail, hint="try again later", headers=LATER)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def run(self, work: Callable[[], T]) -> T:
        """What the work returns, which is done in a thread. At the end of the server it is left
        alone; nothing of it is committed then."""
        if self._threads is None:
            self._threads = CapacityLimiter(AT_ONCE)
        return await to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)
