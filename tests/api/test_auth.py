"""Bearer tokens: who may ask, what is answered to others, and how soon a token ends."""

from __future__ import annotations

import time

import pytest

from tests.support.serving import Face, problem
from usermgr.api.auth import BELIEVED_SECONDS
from usermgr.services.token_text import generate_secret, token_text

REALM = 'Bearer realm="usermgr"'
INVALID = f'{REALM}, error="invalid_token"'
UNKNOWN = "the token is not valid: it is unknown, expired or revoked"
STRANGER = token_text(1, generate_secret())


@pytest.mark.parametrize(
    ("headers", "status", "code", "detail", "challenge"),
    [
        ({}, 401, "unauthenticated", "a bearer token is needed", REALM),
        (
            {"Authorization": "Basic dXNlcjpwYXNz"},
            *(401, "unauthenticated", "a bearer token is needed", REALM),
        ),
        ({"Authorization": "Bearer"}, 401, "unauthenticated", UNKNOWN, INVALID),
        ({"Authorization": "Bearer x"}, 401, "unauthenticated", UNKNOWN, INVALID),
        ({"Authorization": f"Bearer {STRANGER}"}, 401, "unauthenticated", UNKNOWN, INVALID),
        (
            {"Authorization": f"Bearer {token_text(0, generate_secret())}"},
            *(401, "unauthenticated", UNKNOWN, INVALID),
        ),
        (
            {"Authorization": f"Bearer {token_text(2**63, generate_secret())}"},
            *(401, "unauthenticated", UNKNOWN, INVALID),
        ),
    ],
    ids=["nothing", "basic", "empty", "no token", "other secret", "no such id", "beyond ids"],
)
def test_who_has_no_token_is_told_so(
    face: Face, headers: dict[str, str], status: int, code: str, detail: str, challenge: str
) -> None:
    for path in ("/v1/users/1", "/v1/nothing", "/elsewhere"):
        refused = face("GET", path, token=None, headers=headers)

        assert problem(refused) == (status, code, detail)
        assert refused.headers["www-authenticate"] == challenge


def test_two_tokens_are_none(face: Face) -> None:
    given = [("Authorization", f"Bearer {face.tokens['all']}")] * 2
    refused = face.client.get("/v1/users/1", headers=given)

    assert problem(refused) == (400, "bad_request", "there is more than one Authorization header")


def test_a_token_without_the_scope_is_refused(face: Face) -> None:
    refused = face("GET", "/v1/users/1", token="users:write")

    assert problem(refused) == (403, "forbidden", 'the token lacks the scope "users:read"')
    challenge = f'{REALM}, error="insufficient_scope", scope="users:read"'
    assert refused.headers["www-authenticate"] == challenge


@pytest.mark.any_database
def test_a_revoked_token_works_for_five_seconds_at_most_and_use_is_noted(face: Face) -> None:
    created = face.cli("token", "create", "--name", "brief", "-o", "json").json
    assert face("GET", "/v1/users/999999", token=created["token"]).status_code == 404

    assert face.cli("token", "revoke", "brief").exit_code == 0
    end = time.monotonic() + BELIEVED_SECONDS + 1
    while face("GET", "/v1/users/999999", token=created["token"]).status_code == 404:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert face("GET", "/v1/users/999999", token=created["token"]).status_code == 401
    assert face.cli("token", "show", "brief", "-o", "json").json["last_used_at"] is not None


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json"])
def test_health_and_the_document_need_none(face: Face, path: str) -> None:
    answered = face("GET", path, token=None)

    assert answered.status_code == 200
    assert path == "/openapi.json" or answered.json() == {"status": "ok"}
