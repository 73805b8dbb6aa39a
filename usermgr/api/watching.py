"""What is told of every request when it is over: a line in the log, and numbers for Prometheus."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usermgr.api.logs import timestamp
from usermgr.api.requests import KEY, RequestInfo

Finished = Callable[[Scope, int | None, float], None]
"""Is told the scope, the status, None without an answer, and the seconds of a finished request."""

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Watched:
    """Tells of each request when it is over, however it ends."""

    def __init__(
        self, app: ASGIApp, *finished: Finished, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app, self._finished, self._clock = app, finished, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None
        started = self._clock()

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            seconds = self._clock() - started
            for tell in self._finished:
                tell(scope, status, seconds)


def access_log(write: Callable[[str], Any]) -> Finished:
    """What writes a line for each request: one JSON object, ids and no other data.

    A log that cannot be written keeps nobody from being served.
    """

    def log(scope: Scope, status: int | None, seconds: float) -> None:
        info: RequestInfo | None = scope.get(KEY)
        bearer = info.bearer if info else None
        line = {
            "time": timestamp(datetime.now(UTC)),
            "request_id": info.id if info else None,
            "method": method_of(scope),
            "route": route_of(scope),
            "status": status,
            "ms": round(seconds * 1000, 1),
            "token_id": bearer.token.id if bearer else None,
            "operation_id": info.operation_id if info else None,
        }
        try:
            write(json.dumps(line) + "\n")
        except (OSError, ValueError):  # ValueError: the stream is closed
            return

    return log


def route_of(scope: Scope) -> str | None:
    """The template of the route that the request met, such as /v1/users/{id}; None without one."""
    info: RequestInfo | None = scope.get(KEY)
    if info and info.route:
        return info.route
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def method_of(scope: Scope) -> str:
    """The method of the request, or "other" for what no route takes: it is anybody's text."""
    method: str = scope["method"]
    return method if method in _METHODS else "other"
