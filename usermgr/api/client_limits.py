"""How much a client may send, and how long it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usermgr.api.problems import Problem, send_problem
from usermgr.api.requests import info_of


class ClientLimits:
    """Bounds the body of a request in bytes, and the ``seconds`` in which it comes; 0 is no limit.

    What streams (by the path) may have any size: there each part must come within the time.
    ``protocol`` bounds how long a client may take with its headers, and with the answer.
    """

    def __init__(
        self, app: ASGIApp, *, body_max: int, seconds: float, streams: Callable[[str], bool]
    ) -> None:
        self._app, self._most, self._seconds, self._streams = app, body_max, seconds, streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        streams = self._streams(scope["path"])
        body = _Body(receive, None if streams else self._most, self._seconds, whole=not streams)
        started = refused = False

        async def send_unless_refused(message: Message) -> None:
            # Whoever reads a body may take the reason why it ends for one of theirs.
            nonlocal started, refused
            if body.error is not None and not started:
                started = refused = True
                await self._refuse(scope, receive, send, body.error)
            elif not refused:
                started = True
                await send(message)

        try:
            if body.announces_too_much(scope):
                raise _TooLarge
            await self._app(scope, body.receive, send_unless_refused)
        except (_TooLarge, _TooSlow) as error:
            if not started:
                await self._refuse(scope, receive, send, error)
            elif not refused:
                raise

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, error: Exception) -> None:
        # What is left of the body is not read: the connection ends with the answer.
        close = {"Connection": "close"}
        problem = Problem(
            408, f"the request did not come within {self._seconds:g} seconds", headers=close
        )
        if isinstance(error, _TooLarge):
            hint = "POST /v1/users:import takes any number of users"
            told = f"the body has more than {self._most} bytes"
            problem = Problem(413, told, hint=hint, headers=close)
        await send_problem(problem, scope, receive, send, request_id=info_of(scope).id)


class _TooLarge(Exception):
    """The body has more bytes than it may."""


class _TooSlow(Exception):
    """The client takes longer than it may."""


class _Body:
    def __init__(self, receive: Receive, most: int | None, seconds: float, *, whole: bool) -> None:
        self._receive, self._most, self._seconds, self._whole = receive, most, seconds, whole
        self._read = 0
        self._complete = False
        self._until: float | None = None
        self.error: Exception | None = None

    def announces_too_much(self, scope: Scope) -> bool:
        if self._most is None:
            return False
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        return any(value.isdigit() and int(value) > self._most for value in lengths)

    async def receive(self) -> Message:
        if self._complete or not self._seconds:  # What comes next is the end of the connection.
            return self._counted(await self._receive())
        now = asyncio.get_running_loop().time()
        if self._until is None or not self._whole:
            self._until = now + self._seconds
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError as error:
            self.error = _TooSlow()
            raise self.error from error
        return self._counted(message)

    def _counted(self, message: Message) -> Message:
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._most is not None and self._read > self._most:
                self.error = _TooLarge()
                raise self.error
        return message
