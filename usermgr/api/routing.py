"""The table of routes, and what is checked of each request before its route runs."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from usermgr.api.auth import require_scope
from usermgr.api.problems import MEDIA_TYPE, Place, Problem, ProblemBody
from usermgr.api.requests import info_of
from usermgr.names import visible
from usermgr.records import Scope

PREFIX: Final = "/v1"
_ALWAYS: Final = (400, 401, 403, 405, 413, 422, 429, 500, 503)
"""What every route of the API may answer."""

_TAG: Final = {"type": "string", "pattern": '^"[!#-~]*"$'}
_KEY: Final = {"type": "string", "pattern": "^[!-~]{1,255}$"}

F = TypeVar("F", bound=Callable[..., Any])


class _Id(Convertor[str]):
    """An id in a path. What is none, or has more digits than any, is another path."""

    regex = "[0-9]{1,19}"

    def convert(self, value: str) -> str:
        """The digits as they are: services take references as text."""
        return value

    def to_string(self, value: str) -> str:
        """The same digits."""
        return value


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. ``problems`` are the statuses beside those that all may answer."""

    method: str
    path: str
    scope: Scope
    function: Callable[..., Any]
    status: int
    shows: Any
    problems: tuple[int, ...]
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The routes of one kind of thing, in the order in which they are tried."""

    tag: str
    all: list[Endpoint] = field(default_factory=list)

    def add(
        self,
        method: str,
        path: str,
        scope: Scope,
        *,
        shows: Any,
        status: int = 200,
        problems: tuple[int, ...] = (),
        extra: dict[str, Any] | None = None,
    ) -> Callable[[F], F]:
        """Make a route of a function. ``shows`` is the type of what it answers, for OpenAPI."""

        def register(function: F) -> F:
            self.all.append(
                Endpoint(
                    method, PREFIX + path, scope, function, status, shows, problems, extra or {}
                )
            )
            return function

        return register


class Route(APIRoute):
    """Checks scope, query and media type before anything of the request is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of FastAPI behind the checks."""
        handle = super().get_route_handler()
        parameters = self.dependant.query_params
        known = {parameter.alias for parameter in parameters}
        lists = {p.alias for p in parameters if _is_list(p.field_info.annotation)}
        scope = _required_scope(self.openapi_extra)
        takes_body = self.body_field is not None

        async def check_and_handle(request: Request) -> Response:
            info = info_of(request.scope)
            info.route = self.path_format
            if scope is not None:
                require_scope(info.bearer, scope)
            if request.scope["query_string"]:
                _check_query(request, known, lists)
            if takes_body:
                _require_json(request)
            return await handle(request)

        return check_and_handle


def add_endpoints(app: FastAPI, endpoints: Endpoints) -> None:
    """Make routes of the application of them."""
    for endpoint in endpoints.all:
        app.add_api_route(
            endpoint.path,
            endpoint.function,
            methods=[endpoint.method],
            status_code=endpoint.status,
            response_class=Response,
            responses=_responses(endpoint),
            tags=[endpoints.tag],
            operation_id=endpoint.function.__name__,
            openapi_extra={
                "security": [{"token": [endpoint.scope]}],
                "parameters": _headers(endpoint),
                **endpoint.extra,
            },
        )


def allowed_methods(app: FastAPI, path: str) -> list[str]:
    """Every method that the path knows."""
    found = (
        route.methods or ()
        for route in app.routes
        if isinstance(route, APIRoute) and route.path_regex.match(path)
    )
    return sorted(set().union(*found))


def register_ids() -> None:
    """Let paths have ids, as in ``/users/{id:id}``."""
    register_url_convertor("id", _Id())


def _responses(endpoint: Endpoint) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemBody.__name__}"}}}
    takes_body = "body" in inspect.signature(endpoint.function).parameters
    statuses = sorted({*_ALWAYS, *endpoint.problems, *([415] if takes_body else [])})
    told: dict[int | str, dict[str, Any]] = {s: {"content": content} for s in statuses}
    if endpoint.shows is not None:
        told[endpoint.status] = {"model": endpoint.shows}
    return told


def _headers(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The conditions that a request may make."""
    text: dict[str, Any] = {"in": "header", "required": False}
    found = []
    if 412 in endpoint.problems:
        meaning = "The ETag of what is to be changed: it is not changed if it has another by now."
        found.append({**text, "name": "If-Match", "description": meaning, "schema": _TAG})
    if endpoint.method == "POST" and 409 in endpoint.problems:
        meaning = "Makes the request one that may be repeated for a day: it is done once."
        found.append({**text, "name": "Idempotency-Key", "description": meaning, "schema": _KEY})
    return found


def _required_scope(extra: dict[str, Any] | None) -> Scope | None:
    security = (extra or {}).get("security")
    scope: Scope | None = security[0]["token"][0] if security else None
    return scope


def _is_list(annotation: Any) -> bool:
    return "list[" in str(annotation)


def _check_query(request: Request, known: set[str], lists: set[str]) -> None:
    given = Counter(name for name, _ in request.query_params.multi_items())
    places = [
        Place(f"query.{visible(name)}", "no such parameter" if name not in known else "given twice")
        for name, times in given.items()
        if name not in known or (times > 1 and name not in lists)
    ]
    if places:
        first = places[0]
        what = f'"{first.where.removeprefix("query.")}": {first.problem}'
        hint = "the parameters are " + ", ".join(sorted(known)) if known else "there are none"
        raise Problem(422, f"the query parameter {what}", hint=hint, places=places)


def _require_json(request: Request) -> None:
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != "application/json":
        raise Problem(415, "the body must be JSON", hint="send Content-Type: application/json")
