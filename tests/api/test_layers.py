"""The layers around the application, one by one, without a server."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from datetime import UTC, datetime
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.asgi import Answer, ask, echo, scope_of
from usermgr.api.client_limits import ClientLimits
from usermgr.api.failed_logins import FailedLogins
from usermgr.api.hash_turns import HashTurns
from usermgr.api.load_limits import Allowance, RequestsAtOnce, TokenRate
from usermgr.api.logs import JsonLines
from usermgr.api.metrics import Metrics
from usermgr.api.requests import info_of
from usermgr.api.security_headers import SecurityHeaders
from usermgr.api.watching import Watched, access_log
from usermgr.records import Token
from usermgr.services.tokens import Bearer


class Clock:
    """Stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def bearer(number: int) -> Bearer:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    return Bearer(Token(number, "ci", ("users:read",), None, now, now, None, None))


async def routed(scope: Scope, receive: Receive, send: Send) -> None:
    """As if routing and authentication had found what they look for."""
    scope["route"] = SimpleNamespace(path="/v1/users/{id}")
    info = info_of(scope)
    info.bearer, info.operation_id = bearer(3), 7
    await echo(scope, receive, send)


async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("a bug")


def problem(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    told = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return told | {"code": code, "request_id": "the-id"} | more


def test_every_request_has_a_line_of_ids() -> None:
    lines: list[str] = []
    asyncio.run(ask(Watched(routed, access_log(lines.append)), scope_of("/v1/users/9?q=ana")))
    line = json.loads(lines[0])
    assert line.pop("time").endswith("Z")
    assert line.pop("ms") >= 0
    assert line == {
        "request_id": "the-id",
        "method": "GET",
        "route": "/v1/users/{id}",
        "status": 200,
        "token_id": 3,
        "operation_id": 7,
    }


def test_what_was_not_answered_is_logged_too() -> None:
    lines: list[str] = []
    app = Watched(broken, access_log(lines.append))
    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(ask(app, scope_of(method="ANA")))
    line = json.loads(lines[0])
    assert (line["status"], line["route"], line["method"]) == (None, None, "other")


def test_a_log_that_cannot_be_written_keeps_nobody_from_being_served() -> None:
    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    assert asyncio.run(ask(Watched(echo, access_log(full)))).status == 200


def test_errors_are_logged_by_their_type_and_place_only() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.Logger("usermgr.api")
    logger.addHandler(handler)
    try:
        raise ValueError("ana@example.com")
    except ValueError:
        logger.exception("request %s failed", "the-id")
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line.pop("at").startswith("test_errors_are_logged_by_their_type_and_place_only:")
    assert line == {
        "level": "error",
        "logger": "usermgr.api",
        "message": "request the-id failed",
        "error": "ValueError",
    }


def limited(body_max: int = 10, seconds: float = 0.4) -> ASGIApp:
    return ClientLimits(
        echo, body_max=body_max, seconds=seconds, streams=lambda path: path == "/v1/users:import"
    )


TOO_LARGE = problem(
    *(413, "content_too_large", "the body has more than 10 bytes"),
    hint="POST /v1/users:import takes any number of users",
)
TOO_SLOW = problem(408, "request_timeout", "the request did not come within 0.4 seconds")


@pytest.mark.parametrize(
    ("path", "headers", "body", "status", "told"),
    [
        ("/", {}, [b"12345", b"67890"], 200, None),
        ("/", {"Content-Length": "11"}, [], 413, TOO_LARGE),
        ("/", {}, [b"12345", b"678901"], 413, TOO_LARGE),
        ("/v1/users:import", {"Content-Length": "11"}, [b"12345", b"678901"], 200, None),
        ("/", {}, [0.6, b"1"], 408, TOO_SLOW),
        ("/", {}, [b"1", 0.25, b"2", 0.25, b"3"], 408, TOO_SLOW),
        ("/v1/users:import", {}, [b"1", 0.25, b"2", 0.25, b"3"], 200, None),
        ("/v1/users:import", {}, [b"1", 0.6, b"2"], 408, TOO_SLOW),
    ],
)
def test_bodies_are_bounded_in_bytes_and_time(path, headers, body, status, told) -> None:
    answer = asyncio.run(ask(limited(), scope_of(path, method="POST", headers=headers), body))
    assert answer.status == status
    if told is None:
        assert answer.body == b"".join(part for part in body if isinstance(part, bytes))
    else:
        assert answer.json == told
        assert answer.headers["connection"] == "close"


def test_whoever_takes_the_end_of_a_body_for_an_error_of_his_answers_nothing_else() -> None:
    async def misled(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
        except Exception:  # noqa: BLE001 - as FastAPI does
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b"cannot be parsed"})

    app = ClientLimits(misled, body_max=1, seconds=1, streams=lambda _: False)
    answer = asyncio.run(ask(app, scope_of(method="POST"), [b"12"]))
    assert (answer.status, answer.json["code"]) == (413, "content_too_large")


def test_requests_at_once_are_bounded_and_health_is_not() -> None:
    begun = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/readyz":
            await begun.wait()
        await echo(scope, receive, send)

    async def go() -> list[Answer]:
        app = RequestsAtOnce(waits, most=2)
        first = [asyncio.create_task(ask(app)) for _ in range(2)]
        await asyncio.sleep(0)
        refused, health = await ask(app), await ask(app, scope_of("/readyz"))
        begun.set()
        answers = [*await asyncio.gather(*first), await ask(app), refused, health]
        assert app.running == 0
        return answers

    *served, refused, health = asyncio.run(go())
    assert [answer.status for answer in (*served, health)] == [200] * 4
    assert refused.headers["retry-after"] == "1"
    assert refused.json == problem(
        *(503, "unavailable", "2 requests are being worked on"),
        hint="try again later",
    )


def test_each_token_has_its_own_rate() -> None:
    clock = Clock()
    app = TokenRate(echo, a_second=2, clock=clock)

    def statuses(token: int | None, number: int) -> list[int]:
        return [answer(token).status for _ in range(number)]

    def answer(token: int | None) -> Answer:
        scope = scope_of()
        info_of(scope).bearer = None if token is None else bearer(token)
        return asyncio.run(ask(app, scope))

    assert statuses(1, 5) == [200] * 4 + [429]
    assert statuses(2, 1) + statuses(None, 9) == [200] * 10
    clock.now += 0.5
    assert statuses(1, 2) == [200, 429]
    refused = answer(1)
    assert refused.headers["retry-after"] == "1"
    assert refused.json == problem(
        *(429, "too_many_requests", "the token made too many requests"),
        hint="it may make 2 a second",
    )


def test_an_allowance_remembers_a_bounded_number_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Allowance, "KEPT", 2)
    allowed = Allowance(10, 1, clock=Clock())
    for key in (b"a", b"b", b"a", b"c"):
        allowed.take(key)
    assert [allowed.seconds_to_wait(key) for key in (b"a", b"b", b"c")] == [20, 0, 10]


def test_wrong_passwords_are_limited_for_each_user_and_token_until_a_right_one() -> None:
    clock = Clock()
    logins = FailedLogins(clock=clock)
    for _ in range(10):
        assert logins.seconds_to_wait(1, 1) == 0
        logins.note(1, 1, verified=False)
    assert (logins.seconds_to_wait(1, 1), logins.seconds_to_wait(1, 2)) == (30, 0)
    clock.now += 30
    assert logins.seconds_to_wait(1, 1) == 0
    logins.note(1, 1, verified=False)
    assert logins.seconds_to_wait(1, 1) == 30
    logins.note(1, 1, verified=True)
    assert logins.seconds_to_wait(1, 1) == 0


def test_hashes_take_turns_and_a_bounded_number_waits() -> None:
    free = asyncio.Event()

    async def hashing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await free.wait()
        await echo(scope, receive, send)

    async def go() -> tuple[list[Answer], tuple[int, int], Answer, Answer]:
        app = HashTurns(
            hashing, cores=1, most_waiting=1, hashes=lambda scope: scope["method"] == "POST"
        )
        asked = [
            asyncio.create_task(ask(app, scope_of(method="POST"), [b"ab", b"c"])) for _ in range(2)
        ]
        await asyncio.sleep(0)
        seen = app.running, app.waiting
        refused, other = await ask(app, scope_of(method="POST")), await ask(app)
        free.set()
        served = await asyncio.gather(*asked)
        assert (app.running, app.waiting) == (0, 0)
        return served, seen, refused, other

    served, seen, refused, other = asyncio.run(go())
    assert [(answer.status, answer.body) for answer in served] == [(200, b"abc")] * 2
    assert (seen, other.status) == ((1, 1), 200)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert refused.json["detail"] == "too many passwords wait to be hashed"


def test_answers_trust_browsers_with_nothing_but_what_a_route_allows() -> None:
    async def page(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-security-policy", b"default-src 'self'")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    usual = asyncio.run(ask(SecurityHeaders(echo))).headers
    assert usual == {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
    allowed = asyncio.run(ask(SecurityHeaders(page))).headers
    assert allowed == usual | {"content-security-policy": "default-src 'self'"}
    over_tls = asyncio.run(ask(SecurityHeaders(echo), scope_of(scheme="https"))).headers
    assert over_tls == usual | {"strict-transport-security": "max-age=31536000"}


def test_metrics_count_requests_by_route_and_users_by_change() -> None:
    metrics = Metrics()
    metrics.watch("usermgr_hashes_waiting", lambda: 4)
    metrics.changed({"user.create": 2, "grant.create": 5})
    asyncio.run(ask(Watched(routed, metrics.finished)))
    asyncio.run(ask(Watched(echo, metrics.finished), scope_of("/ana", method="ANA")))
    lines = metrics.text().decode().splitlines()
    for line in (
        'usermgr_http_requests_total{method="GET",route="/v1/users/{id}",status="200"} 1.0',
        'usermgr_http_requests_total{method="other",route="none",status="200"} 1.0',
        'usermgr_http_request_seconds_count{route="/v1/users/{id}"} 1.0',
        'usermgr_users_changed_total{change="create"} 2.0',
        "usermgr_hashes_waiting 4.0",
        "usermgr_pool_connections_used 0.0",
    ):
        assert line in lines
    assert "ANA" not in metrics.text().decode()
