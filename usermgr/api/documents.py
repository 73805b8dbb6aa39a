"""/openapi.json: what FastAPI knows of the routes, and what holds for all of them."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from pydantic import TypeAdapter

from usermgr.api.problems import ProblemBody

_TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token that usermgr token create has shown.",
}


def describe(app: FastAPI) -> None:
    """Let the document tell the token and the form of errors; it is made when it is asked for."""
    made_by_fastapi = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made_by_fastapi()
            components = document.setdefault("components", {})
            components["securitySchemes"] = {"token": _TOKEN}
            schemas = components.setdefault("schemas", {})
            # FastAPI's own form of an invalid request is never sent.
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            schemas[ProblemBody.__name__] = TypeAdapter(ProblemBody).json_schema()
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
