"""As many requests compute password hashes as there are cores; some wait, more are refused.

They wait here, where they hold neither a thread nor a connection to the database, so that a burst
of password checks leaves both to the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usermgr.api.load_limits import LATER
from usermgr.api.problems import Problem, send_problem
from usermgr.api.requests import info_of


class HashTurns:
    """Lets ``cores`` requests in that hash, and ``most_waiting`` wait for them.

    ``hashes`` says by the scope which may, ``ready`` by the body which need not after all. The body
    has come completely before a request gets its turn: a slow client holds no core.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        cores: int,
        most_waiting: int,
        hashes: Callable[[Scope], bool],
        ready: Callable[[bytes], bool] = lambda _: False,
    ) -> None:
        self._app, self._hashes, self._ready = app, hashes, ready
        self._cores, self._most_waiting = cores, most_waiting
        self._turns = asyncio.Semaphore(cores)
        self.running = self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not self._hashes(scope):
            await self._app(scope, receive, send)
            return
        parts = await _read_body(receive)
        again = _replayed(parts, receive)
        if self._ready(b"".join(part.get("body", b"") for part in parts)):
            await self._app(scope, again, send)
        elif self.running >= self._cores and self.waiting >= self._most_waiting:
            detail = "too many passwords wait to be hashed"
            problem = Problem(503, detail, hint="try again later", headers=LATER)
            await send_problem(problem, scope, receive, send, request_id=info_of(scope).id)
        else:
            await self._take_turn(scope, again, send)

    async def _take_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.running -= 1
            self._turns.release()


async def _read_body(receive: Receive) -> list[Message]:
    parts = [await receive()]
    while parts[-1].get("more_body"):
        parts.append(await receive())
    return parts


def _replayed(parts: list[Message], receive: Receive) -> Receive:
    pending = iter(parts)

    async def receive_again() -> Message:
        message = next(pending, None)
        return message if message is not None else await receive()

    return receive_again
