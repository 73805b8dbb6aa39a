"""Idempotency-Key: what makes a request the same as another, and its answer as bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from usermgr.api.problems import Problem
from usermgr.services.repeating import Repeatable, running
from usermgr.services.token_text import read_token
from usermgr.services.tokens import Bearer

HEADER: Final = "idempotency-key"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT_HEADERS: Final = ("cache-control", "content-type", "etag", "location")


class Repeats:
    """The requests with a key that this process works on, each once at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[tuple[int, str]] = set()

    @contextlib.contextmanager
    def alone(self, request: Repeatable) -> Iterator[None]:
        """Raise Conflict while another request with the same key is inside."""
        place = (request.token_id, request.key)
        with self._lock:
            if place in self._running:
                raise running(request)
            self._running.add(place)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(place)


async def repeatable_of(request: Request, bearer: Bearer) -> Repeatable | None:
    """What makes the request one that may come again; None where its client gave no key."""
    if request.method != "POST" or HEADER not in request.headers:
        return None
    key = request.headers[HEADER]
    if len(request.headers.getlist(HEADER)) > 1 or not _KEY.fullmatch(key):
        raise Problem(400, "Idempotency-Key is not one to 255 visible ASCII characters")
    presented = read_token(request.headers["authorization"].partition(" ")[2].strip())
    if presented is None:
        raise RuntimeError("the bearer has no token")
    digest = hashlib.sha256()
    for part in (request.url.path.encode(), request.scope["query_string"], await request.body()):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return Repeatable(bearer.token.id, key, digest.hexdigest(), presented.secret)


def pack(response: Response) -> bytes:
    """The answer as it is kept."""
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    told = {"status": response.status_code, "headers": headers}
    return json.dumps(told).encode() + b"\n" + bytes(response.body)


def unpack(kept: bytes) -> Response:
    """The answer that was kept; a header says that it comes again."""
    head, _, body = kept.partition(b"\n")
    told = json.loads(head)
    headers = {**told["headers"], "Idempotency-Replayed": "true"}
    return Response(body, told["status"], headers)
