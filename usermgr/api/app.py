"""The application: routes, errors, and the middlewares around them.

``build_app`` is the one place where the parts meet. A middleware is pure ASGI, and takes the
application that it wraps.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from usermgr import __version__
from usermgr.api import docs_page, health, metrics
from usermgr.api.auth import Authentication, require_scope
from usermgr.api.documents import describe
from usermgr.api.layers import inner_layers, outer_layers
from usermgr.api.problems import Place, Problem, problem_of, problem_response
from usermgr.api.requests import info_of
from usermgr.api.routing import Route, add_endpoints, allowed_methods, register_ids
from usermgr.api.runtime import THREADS, Runtime
from usermgr.errors import UserMgrError
from usermgr.names import visible

PUBLIC: Final = ("/livez", "/readyz", "/openapi.json", *docs_page.PATHS)
"""The paths that need no token."""


def build_app(runtime: Runtime) -> ASGIApp:
    """The application of one process, with its middlewares; the first one sees a request last."""
    app = _routes(runtime)
    middlewares: list[Callable[[ASGIApp], ASGIApp]] = [
        *inner_layers(runtime),
        lambda inner: Authentication(inner, runtime.bearers, PUBLIC),
        *outer_layers(runtime),
    ]
    wrapped: ASGIApp = app
    for wrap in middlewares:
        wrapped = wrap(wrapped)
    return wrapped


def _routes(runtime: Runtime) -> FastAPI:
    register_ids()
    readiness = health.Readiness(runtime.settings)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield
        readiness.close()
        runtime.close()

    app = FastAPI(
        title="usermgr",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        lifespan=lifespan,
        exception_handlers=_HANDLERS,
    )
    app.state.runtime = runtime
    app.router.route_class = Route

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return health.live()

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        return await health.ready(readiness, is_stopping=runtime.is_stopping)

    @app.get("/metrics", include_in_schema=False)
    async def numbers(request: Request) -> Response:
        require_scope(info_of(request.scope).bearer, "operations:read")
        return Response(runtime.metrics.text(), media_type=metrics.CONTENT_TYPE)

    app.router.routes.extend(docs_page.docs_routes())
    for endpoints in _endpoints():
        add_endpoints(app, endpoints)
    describe(app)
    return app


def _endpoints() -> list[Any]:
    from usermgr.api import exports, imports, labels, operations, tokens, user_claims, users

    return [
        *(users.ENDPOINTS, user_claims.ENDPOINTS, imports.ENDPOINTS, exports.ENDPOINTS),
        *(labels.ROLES, labels.CLAIMS, operations.ENDPOINTS, tokens.ENDPOINTS),
    ]


def _told(request: Request, problem: Problem) -> Response:
    body, headers = problem_response(problem, info_of(request.scope).id)
    return Response(body, problem.status, headers)


async def _on_error(request: Request, error: Any) -> Response:
    return _told(request, problem_of(error))


async def _on_problem(request: Request, error: Any) -> Response:
    return _told(request, error)


async def _on_http_error(request: Request, error: Any) -> Response:
    status = error.status_code
    if status == 404:
        return _told(request, Problem(404, f'no path "{visible(request.url.path)}"'))
    if status == 405:
        methods = ", ".join(allowed_methods(request.app, request.scope["path"]))
        detail = f"the path does not know {visible(request.method)}"
        return _told(request, Problem(405, detail, headers={"Allow": methods}))
    return _told(request, Problem(status, "the request cannot be read"))


async def _on_invalid(request: Request, error: Any) -> Response:
    """What FastAPI found wrong; what was sent stays out of it, for it may be a password."""
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return _told(request, Problem(400, "the body is not JSON"))
    places = [Place(".".join(map(str, each["loc"])), each["msg"]) for each in found]
    first = f"{visible(places[0].where)}: {places[0].problem}"
    return _told(request, Problem(422, first, places=places))


_HANDLERS: Final[dict[Any, Any]] = {
    UserMgrError: _on_error,
    Problem: _on_problem,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
}
