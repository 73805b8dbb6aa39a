"""The layers in their places: what a client of the server meets before and around the routes."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support.databases import initialise
from tests.support.serving import Face, problem, serving
from usermgr.api.security_headers import HEADERS


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Face]:
    """A server of two processes that allows little."""
    url = f"sqlite:///{tmp_path_factory.mktemp('strict') / 'strict.db'}"
    initialise(url)
    limits = {
        "USERMGR_HTTP_BODY_MAX": "1024",
        "USERMGR_HTTP_CLIENT_TIMEOUT": "0.5",
        "USERMGR_HTTP_RATE": "5",
        "USERMGR_HTTP_CORS_ORIGINS": "https://console.example.com",
    }
    with serving(url, "--workers", "2", env=limits) as face:
        yield face


def test_answers_carry_the_headers_and_no_banner(face: Face) -> None:
    for path, token in (("/v1/users/1", "all"), ("/v1/users/1", None), ("/nowhere", "all")):
        answer = face("GET", path, token=token)
        usual = {name.decode(): value.decode() for name, value in HEADERS}
        assert usual.items() <= dict(answer.headers).items()
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_the_log_tells_ids_and_nothing_else(face: Face) -> None:
    answer = face("GET", "/v1/users/987654321", headers={"X-Request-Id": "asked-for-it"})
    line = face.logged("asked-for-it")
    assert (answer.status_code, line.pop("ms") > 0, line.pop("time")[-1]) == (404, True, "Z")
    assert line.pop("token_id") > 0
    assert line == {
        "request_id": "asked-for-it",
        "method": "GET",
        "route": "/v1/users/{id}",
        "status": 404,
        "operation_id": None,
    }
    assert "987654321" not in face.log.read_text()


def test_metrics_are_for_tokens_that_may_read_operations(face: Face) -> None:
    assert problem(face("GET", "/metrics", token=None))[0] == 401
    assert problem(face("GET", "/metrics", token="users:read"))[0] == 403
    face("GET", "/v1/users/987654321")
    told = face("GET", "/metrics", token="operations:read")
    assert told.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    counted = 'usermgr_http_requests_total{method="GET",route="/v1/users/{id}",status="404"} '
    assert counted in told.text
    assert "usermgr_pool_connections_idle " in told.text


def test_workers_tell_the_sum_of_their_metrics(strict: Face) -> None:
    before = _alive(strict)
    for _ in range(6):  # Each over a connection of its own, so that both workers get some.
        httpx.get(f"{strict.url}/livez")
    # A request is counted when its answer is on its way.
    end = time.monotonic() + 5
    while (told := _alive(strict)) < before + 6 and time.monotonic() < end:
        time.sleep(0.3)
    assert told == before + 6


def _alive(face: Face) -> float:
    """How often /livez was asked, by the metrics."""
    headers = {"Authorization": f"Bearer {face.tokens['operations:read']}"}
    lines = httpx.get(f"{face.url}/metrics", headers=headers).text.splitlines()
    found = [line for line in lines if 'total{method="GET",route="/livez"' in line]
    return float(found[0].split()[-1]) if found else 0.0


def test_a_body_that_is_too_large(strict: Face) -> None:
    headers = {"Authorization": f"Bearer {strict.tokens['claims:write']}"}
    for body in (b"x" * 1025, (b"x" for _ in range(1025))):
        answer = httpx.post(f"{strict.url}/v1/users", content=body, headers=headers)
        assert problem(answer) == (413, "content_too_large", "the body has more than 1024 bytes")
        assert answer.headers["connection"] == "close"


def test_a_token_that_asks_too_often(strict: Face) -> None:
    answers = [strict("GET", "/v1/users/1", token="read") for _ in range(40)]
    refused = [answer for answer in answers if answer.status_code == 429]
    # Two processes count by themselves, and let ten through each.
    assert len(refused) >= 10
    assert problem(refused[0])[1:] == ("too_many_requests", "the token made too many requests")
    assert refused[0].headers["retry-after"] == "1"
    assert strict("GET", "/v1/users/1", token="users:read").status_code == 404


def test_other_origins_are_allowed_only_where_they_are_configured(strict: Face) -> None:
    def preflight(origin: str) -> httpx.Response:
        wanted = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        return strict("OPTIONS", "/v1/users/1", token=None, headers=wanted)

    allowed, refused = preflight("https://console.example.com"), preflight("https://a.example")
    assert allowed.headers["access-control-allow-origin"] == "https://console.example.com"
    assert allowed.status_code == 200
    assert "access-control-allow-credentials" not in allowed.headers
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("begun", [b"", b"GET /livez HTT", b"GET /livez HTTP/1.1\r\nHost: a\r\n"])
def test_whoever_does_not_finish_asking_is_hung_up_on(strict: Face, begun: bytes) -> None:
    host, port = strict.url.removeprefix("http://").split(":")
    started = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        slow.sendall(begun)
        assert slow.recv(100) == b""
    assert 0.4 < time.monotonic() - started < 5


def test_whoever_does_not_finish_a_body_is_told_so(strict: Face) -> None:
    host, port = strict.url.removeprefix("http://").split(":")
    token = strict.tokens["users:write"]
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        slow.sendall(
            b"POST /v1/users HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n"
            b"Content-Type: application/json\r\n"
            b"Authorization: Bearer %s\r\n\r\n{" % token.encode()
        )
        answer = slow.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["detail"] == "the request did not come within 0.5 seconds"
