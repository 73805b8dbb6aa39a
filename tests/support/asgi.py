"""Requests to an ASGI application without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usermgr.api.requests import KEY, RequestInfo


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def scope_of(
    path: str = "/v1/users",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    scheme: str = "http",
) -> Scope:
    """The scope of a request."""
    sent = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "scheme": scheme,
        "headers": sent,
        KEY: RequestInfo("the-id"),
    }


async def ask(
    app: ASGIApp, scope: Scope | None = None, body: Iterable[bytes | float] = ()
) -> Answer:
    """The answer to one request. Numbers in the body are seconds that the client waits."""
    parts, sent = iter([*body, b""]), list[Message]()

    async def receive() -> Message:
        part = next(parts, None)
        while isinstance(part, float):
            await asyncio.sleep(part)
            part = next(parts, None)
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": part != b""}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope or scope_of(), receive, send)
    start = sent[0]
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], headers, b"".join(m.get("body", b"") for m in sent[1:]))


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body of the request."""
    content = b""
    while True:
        message = await receive()
        content += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": content})
