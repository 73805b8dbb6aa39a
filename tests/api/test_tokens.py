"""/v1/tokens: made, rotated and revoked over HTTP, but never beyond the scopes of who asks."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.support.serving import Face, problem
from usermgr.records import SCOPES

NUMBERS = itertools.count(1)


def create(face: Face, *, token: str = "all", **more: Any) -> Any:  # noqa: S107 - the name of one
    """Create a token with a name of its own."""
    body = {"name": f"over http {next(NUMBERS)}", **more}
    return face("POST", "/v1/tokens", json=body, token=token)


def test_a_token_is_made_rotated_and_revoked(face: Face) -> None:
    made = create(face, scopes=["roles:read"], expires_at="2d")
    token = made.json()
    text = token.pop("token")
    path = f"/v1/tokens/{token['id']}"

    assert (made.status_code, made.headers["location"]) == (201, path)
    assert face("GET", path).json() == token
    assert face.cli("token", "show", str(token["id"]), "-o", "json").json == token
    assert face("GET", "/v1/roles", token=text).status_code == 200
    rotated = face("POST", f"{path}:rotate", json={}).json()
    assert rotated.pop("token") != text
    assert rotated["expires_at"] > token["expires_at"]
    revoked = face("POST", f"{path}:revoke").json()
    assert revoked["revoked_at"] is not None
    assert revoked in face("GET", "/v1/tokens").json()["items"]
    assert problem(face("POST", f"{path}:rotate", json={}))[:2] == (409, "conflict")


def test_nobody_gives_more_than_they_have(face: Face) -> None:
    lacking = "the token would have scopes that yours lacks: users:write"

    refused = create(face, token="tokens:write", scopes=["tokens:write", "users:write"])
    assert problem(refused) == (403, "forbidden", lacking)
    strong = create(face, scopes=["users:write"]).json()
    path = f"/v1/tokens/{strong['id']}:rotate"
    assert problem(face("POST", path, json={}, token="tokens:write")) == (403, "forbidden", lacking)
    assert create(face, token="tokens:write", scopes=["tokens:write"]).status_code == 201
    assert face("GET", "/v1/roles", token=strong["token"]).status_code == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"scopes": ["users"]}, 422),
        ({"scopes": []}, 422),
        ({"expires_at": "never"}, 422),
        ({"expires_at": "2020-01-01"}, 422),
        ({"for": 999999}, 404),
    ],
)
@pytest.mark.any_database
def test_tokens_that_cannot_be(face: Face, body: dict[str, Any], status: int) -> None:
    assert problem(create(face, **body))[0] == status


@pytest.mark.any_database
def test_a_token_may_read_by_default(face: Face) -> None:
    assert create(face).json()["scopes"] == [s for s in SCOPES if s.endswith(":read")]
