"""/docs: Swagger UI from this machine, so that it works in a closed network.

The page may load what this server serves, and nothing else: no script or style of its own text, no
frame, no other host. Only styles that Swagger UI sets on elements are allowed beside its sheet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

ASSETS: Final = Path(__file__).with_name("assets")

_FILES: Final = {
    "/docs": ("index.html", "text/html"),
    "/docs/start.js": ("start.js", "text/javascript"),
    "/docs/swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript"),
    "/docs/swagger-ui.css": ("swagger-ui.css", "text/css"),
    "/docs/favicon-32x32.png": ("favicon-32x32.png", "image/png"),
}
PATHS: Final = frozenset(_FILES)

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    # A browser asks each time whether there is a newer one; it gets the file only then.
    "Cache-Control": "no-cache",
}


def docs_routes() -> list[Route]:
    """The routes of the page and of what it loads."""
    return [Route(path, _serve, methods=["GET"], include_in_schema=False) for path in _FILES]


async def _serve(request: Request) -> Response:
    name, media_type = _FILES[request.url.path]
    return FileResponse(ASSETS / name, headers=_HEADERS, media_type=media_type)
