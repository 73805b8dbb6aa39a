"""Errors as ``application/problem+json`` (RFC 9457), with the codes of the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from starlette.types import Receive, Scope, Send

from usermgr.errors import InternalError, UserMgrError

MEDIA_TYPE: Final = "application/problem+json"

CODES: Final = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    412: "precondition_failed",
    413: "content_too_large",
    415: "unsupported_media_type",
    422: "invalid_input",
    428: "precondition_required",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}
"""The code of each status; those that the command line knows, too, are its own."""

_SHELL: Final = re.compile(r"\busermgr [a-z]|--[a-z]|\bshell\b|\boptions\b")


class Place(NamedTuple):
    """Something wrong in a request, and where it stands."""

    where: str
    problem: str


@dataclass(frozen=True, slots=True)
class ProblemBody:
    """An error. ``code`` is what programs look at; ``detail`` is for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    hint: str | None = None
    errors: Sequence[Mapping[str, str]] | None = None
    details: Mapping[str, Any] | None = None


class Problem(Exception):
    """A request that ends with an error of HTTP, which the command line has no like of."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
        places: Sequence[Place] = (),
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.hint = status, detail, hint
        self.headers = dict(headers or {})
        self.places = tuple(places)
        self.code = CODES[status]
        self.details: Mapping[str, Any] = {}


def problem_of(error: UserMgrError) -> Problem:
    """The problem that an error of the services is over HTTP."""
    status = error.http_status or InternalError.http_status or 500
    problem = Problem(status, error.message, hint=_for_http(error.hint))
    problem.code, problem.details = error.code, error.details
    if status == 503:
        problem.headers["Retry-After"] = "1"
    return problem


def problem_response(problem: Problem, request_id: str) -> tuple[bytes, dict[str, str]]:
    """The body and the headers that tell the problem."""
    told: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "request_id": request_id,
    }
    if problem.hint:
        told["hint"] = problem.hint
    if problem.places:
        told["errors"] = [place._asdict() for place in problem.places]
    if problem.details:
        told["details"] = dict(problem.details)
    # A value that is no text, such as half a surrogate, is told in an escaped form.
    body = json.dumps(told, default=str).encode()
    return body, {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", **problem.headers}


async def send_problem(
    problem: Problem, scope: Scope, receive: Receive, send: Send, *, request_id: str
) -> None:
    """Answer a request with the problem, from a middleware."""
    from starlette.responses import Response

    body, headers = problem_response(problem, request_id)
    await Response(body, problem.status, headers)(scope, receive, send)


def _for_http(hint: str | None) -> str | None:
    """The hint, unless it tells what to type into a shell."""
    return None if hint is None or _SHELL.search(hint) else hint
