"""How many requests are worked on at once, and how many each token may make."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from usermgr.api.problems import Problem, send_problem
from usermgr.api.requests import info_of

HEALTH: Final = frozenset(("/livez", "/readyz"))
"""Paths that are answered whatever the load is."""

LATER: Final = {"Retry-After": "1"}
_ROUNDING: Final = 1e-6


class RequestsAtOnce:
    """Refuses requests above a number with 503, health excepted."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app, self._most = app, most
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] in HEALTH:
            await self._app(scope, receive, send)
            return
        if self.running >= self._most:
            detail = f"{self._most} requests are being worked on"
            problem = Problem(503, detail, hint="try again later", headers=LATER)
            await send_problem(problem, scope, receive, send, request_id=info_of(scope).id)
            return
        self.running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.running -= 1


class Allowance:
    """One every ``interval`` seconds for each key, and at most ``burst`` at once.

    The generic cell rate algorithm (ITU-T I.371): of each key it keeps the time at which its
    allowance is whole again. ``KEPT`` keys are kept, those that were used last.
    """

    KEPT: Final = 10_000

    def __init__(
        self, interval: float, burst: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval, self._longest, self._clock = interval, interval * burst, clock
        self._whole_at: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def seconds_to_wait(self, key: bytes) -> float:
        """0 when there is one left; else how long until there is."""
        now = self._clock()
        whole_at = max(self._whole_at.get(key, now), now)
        wait = whole_at + self._interval - now - self._longest
        return wait if wait > _ROUNDING else 0.0

    def take(self, key: bytes) -> None:
        """Take one."""
        now = self._clock()
        with self._lock:
            self._whole_at[key] = max(self._whole_at.pop(key, now), now) + self._interval
            if len(self._whole_at) > self.KEPT:
                self._whole_at.popitem(last=False)

    def forget(self, key: bytes) -> None:
        """Make the allowance whole."""
        with self._lock:
            self._whole_at.pop(key, None)


class TokenRate:
    """Refuses with 429 what a token asks beyond so many a second, or twice that at once.

    It stands behind authentication.
    """

    def __init__(
        self, app: ASGIApp, *, a_second: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app, self._a_second = app, a_second
        self._allowed = Allowance(1 / a_second, 2 * a_second, clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        wait = self._take(scope) if scope["type"] == "http" else 0.0
        if not wait:
            await self._app(scope, receive, send)
            return
        problem = Problem(
            429,
            "the token made too many requests",
            hint=f"it may make {self._a_second} a second",
            headers={"Retry-After": str(ceil(wait))},
        )
        await send_problem(problem, scope, receive, send, request_id=info_of(scope).id)

    def _take(self, scope: Scope) -> float:
        bearer = info_of(scope).bearer
        if bearer is None:
            return 0.0
        key = b"%d" % bearer.token.id
        wait = self._allowed.seconds_to_wait(key)
        if not wait:
            self._allowed.take(key)
        return wait
