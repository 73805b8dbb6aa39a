"""The layers around the application that limit, watch and protect it.

A request meets them from the last one on: it is watched, gets its id, is counted, and its body is
bounded before anybody looks at its token; then come the token's rate and the turn to hash.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Scope

from usermgr.api.client_limits import ClientLimits
from usermgr.api.hash_turns import HashTurns
from usermgr.api.load_limits import RequestsAtOnce, TokenRate
from usermgr.api.requests import Requests
from usermgr.api.runtime import Runtime
from usermgr.api.security_headers import SecurityHeaders
from usermgr.api.watching import Watched, access_log

Layer = Callable[[ASGIApp], ASGIApp]

IMPORT_PATH: Final = "/v1/users:import"

_HASHES: Final = re.compile(r"/v1/users/[0-9]+/password(:verify)?|/v1/users")
_READY: Final = b'"password_hash"'
"""Stands in the body of a new user who brings a hash along."""


def inner_layers(runtime: Runtime) -> list[Layer]:
    """Those behind authentication."""
    settings, metrics = runtime.settings, runtime.metrics

    def turns(inner: ASGIApp) -> ASGIApp:
        layer = HashTurns(
            inner,
            cores=runtime.cores,
            most_waiting=settings.http_hashes_waiting,
            hashes=_hashes,
            ready=lambda body: _READY in body,
        )
        metrics.watch("usermgr_hashes_running", lambda: layer.running)
        metrics.watch("usermgr_hashes_waiting", lambda: layer.waiting)
        return layer

    def rate(inner: ASGIApp) -> ASGIApp:
        return TokenRate(inner, a_second=settings.http_rate)

    return [turns, rate] if settings.http_rate else [turns]


def outer_layers(runtime: Runtime) -> list[Layer]:
    """Those before authentication."""
    settings, metrics = runtime.settings, runtime.metrics

    def client(inner: ASGIApp) -> ASGIApp:
        return ClientLimits(
            inner,
            body_max=settings.http_body_max,
            seconds=settings.http_client_timeout,
            streams=lambda path: path == IMPORT_PATH,
        )

    def at_once(inner: ASGIApp) -> ASGIApp:
        layer = RequestsAtOnce(inner, most=settings.http_requests)
        metrics.watch("usermgr_http_requests_running", lambda: layer.running)
        return layer

    def watched(inner: ASGIApp) -> ASGIApp:
        return Watched(inner, metrics.finished, access_log(_log))

    pool = runtime.database.kept_connections
    metrics.watch("usermgr_pool_connections_used", lambda: pool()[0])
    metrics.watch("usermgr_pool_connections_idle", lambda: pool()[1])
    origins = settings.http_cors_origins
    return [
        client,
        at_once,
        *([_cors(origins)] if origins else []),
        Requests,
        SecurityHeaders,
        watched,
    ]


def _log(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


def _hashes(scope: Scope) -> bool:
    return scope["method"] in ("POST", "PUT") and bool(_HASHES.fullmatch(scope["path"]))


def _cors(origins: tuple[str, ...]) -> Layer:
    def cors(inner: ASGIApp) -> ASGIApp:
        return CORSMiddleware(
            inner,
            allow_origins=origins,
            allow_methods=("GET", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=(
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-Match",
                "X-Request-Id",
            ),
            expose_headers=("ETag", "Link", "Location", "Retry-After", "X-Request-Id"),
        )

    return cors
