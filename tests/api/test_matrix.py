"""Every operation of the API with every scope: one of them opens it, and no other does.

A route without a row here makes the first test fail.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.serving import Face, problem
from usermgr.records import SCOPES

NOBODY = "999999"
"""An id that nothing has: no row changes anything."""

ROWS: dict[str, str] = {
    "GET /v1/users": "users:read",
    "POST /v1/users": "users:write",
    "GET /v1/users/{id}": "users:read",
    "PATCH /v1/users/{id}": "users:write",
    "DELETE /v1/users/{id}": "users:write",
    "PUT /v1/users/{id}/password": "users:write",
    "POST /v1/users/{id}/password:verify": "users:write",
    "GET /v1/users/{id}/role": "users:read",
    "GET /v1/users/{id}/history": "users:read",
    "GET /v1/users/{id}/claims": "users:read",
    "PUT /v1/users/{id}/claims/{claim}": "users:write",
    "DELETE /v1/users/{id}/claims/{claim}": "users:write",
    "POST /v1/users:import": "users:write",
    "GET /v1/users:export": "users:read",
    "GET /v1/roles": "roles:read",
    "POST /v1/roles": "roles:write",
    "GET /v1/roles/{id}": "roles:read",
    "PATCH /v1/roles/{id}": "roles:write",
    "DELETE /v1/roles/{id}": "roles:write",
    "GET /v1/claims": "claims:read",
    "POST /v1/claims": "claims:write",
    "GET /v1/claims/{id}": "claims:read",
    "PATCH /v1/claims/{id}": "claims:write",
    "DELETE /v1/claims/{id}": "claims:write",
    "GET /v1/operations": "operations:read",
    "GET /v1/operations/{id}": "operations:read",
    "POST /v1/operations/{id}:undo": "operations:write",
    "GET /v1/tokens": "tokens:read",
    "POST /v1/tokens": "tokens:write",
    "GET /v1/tokens/{id}": "tokens:read",
    "POST /v1/tokens/{id}:rotate": "tokens:write",
    "POST /v1/tokens/{id}:revoke": "tokens:write",
}
"""The operations of the document, and the scope that each needs."""

METHODS = ("get", "put", "post", "patch", "delete")


@pytest.fixture
def document(face: Face) -> dict[str, Any]:
    """The OpenAPI document."""
    told: dict[str, Any] = face("GET", "/openapi.json", token=None).json()
    return told


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The operations of the document by method and path."""
    return {
        f"{method.upper()} {path}": item[method]
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }


@pytest.mark.any_database
def test_every_operation_has_a_row_and_every_row_an_operation(document: dict[str, Any]) -> None:
    told = {name: each["security"] for name, each in operations(document).items()}

    assert told == {name: [{"token": [scope]}] for name, scope in ROWS.items()}


@pytest.mark.any_database
@pytest.mark.parametrize("row", ROWS)
def test_one_scope_opens_an_operation_and_no_other_does(face: Face, row: str) -> None:
    method, path = row.replace("{id}", NOBODY).split(" ")

    assert problem(face(method, path, token=None))[:2] == (401, "unauthenticated")
    for scope in SCOPES:
        answered = face(method, path, token=scope, json={} if method != "GET" else None)
        if scope == ROWS[row]:
            assert answered.status_code in (200, 404, 422), scope
        else:
            refused = (403, "forbidden", f'the token lacks the scope "{ROWS[row]}"')
            assert problem(answered) == refused, scope


@pytest.mark.any_database
def test_every_operation_tells_what_it_may_answer(document: dict[str, Any]) -> None:
    for name, each in operations(document).items():
        told = {int(status) for status in each["responses"]}
        method, path = name.split(" ")
        assert told >= {400, 401, 403, 405, 413, 422, 429, 500, 503}, name
        assert ("{" in path) <= (404 in told), name
        assert (method in ("PUT", "PATCH", "DELETE")) == (told >= {409, 412, 428}), name
        assert ("requestBody" in each) == (415 in told), name
        for status, answer in each["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], name
