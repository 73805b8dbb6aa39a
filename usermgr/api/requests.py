"""The outermost middleware: what is known of a request, its id, and the answer to bugs.

Every middleware and route finds the ``RequestInfo`` by ``info_of(scope)``; what it lacks at the
beginning (bearer, route, operation) is filled in by whoever learns it.
"""

from __future__ import annotations

import logging
import re
import secrets
import traceback
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usermgr.api.problems import Problem, send_problem
from usermgr.services.tokens import Bearer

KEY: Final = "usermgr"
HEADER: Final = "x-request-id"
_ACCEPTED: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_LOG: Final = logging.getLogger("usermgr.api")


@dataclass(slots=True)
class RequestInfo:
    """What is known of a request so far. ``route`` is the template of its path."""

    id: str
    bearer: Bearer | None = None
    route: str | None = None
    operation_id: int | None = None


def info_of(scope: Scope) -> RequestInfo:
    """What is known of the request."""
    info: RequestInfo = scope[KEY]
    return info


class Requests:
    """Gives each request an id, its client's own if that is harmless, and tells it in the answer.

    An error that nobody foresaw is answered with 500 and logged with the request's id, its type and
    its place: its text, and that of its causes, may hold personal data.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        info = scope[KEY] = RequestInfo(_request_id(scope))
        header = (HEADER.encode(), info.id.encode())
        started = False

        async def tell(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self._app(scope, receive, tell)
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__))
            _LOG.error("request %s: unexpected %s\n%s", info.id, type(error).__name__, where)
            if started:
                raise
            problem = Problem(500, "an error that nobody foresaw: a bug in usermgr")
            await send_problem(problem, scope, receive, tell, request_id=info.id)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == HEADER.encode() and _ACCEPTED.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(8)
