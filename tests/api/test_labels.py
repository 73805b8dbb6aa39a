"""/v1/roles and /v1/claims."""

from __future__ import annotations

import itertools

import pytest

from tests.support.serving import Face, problem

NUMBERS = itertools.count(1)


@pytest.mark.parametrize("noun", ["role", "claim"])
def test_a_label_is_created_shown_changed_and_deleted(face: Face, noun: str) -> None:
    name = f"{noun} over http {next(NUMBERS)}"

    made = face("POST", f"/v1/{noun}s", json={"description": name})
    label = made.json()
    path = f"/v1/{noun}s/{label['id']}"
    assert (made.status_code, made.headers["location"]) == (201, path)
    assert label == face.cli(noun, "show", name, "-o", "json").json
    found = face("GET", path)
    assert (found.json(), found.headers["etag"]) == (label, made.headers["etag"])
    assert label in face("GET", f"/v1/{noun}s").json()["items"]
    taken = face("POST", f"/v1/{noun}s", json={"description": name.upper()})
    assert problem(taken)[:2] == (409, "conflict")

    tag = {"If-Match": found.headers["etag"]}
    changed = face("PATCH", path, json={"description": f"{name}!", "protected": True}, headers=tag)
    assert changed.json() == {**label, "description": f"{name}!", "protected": True}
    for method in ("PATCH", "DELETE"):
        stale = face(method, path, json={"protected": False}, headers=tag)
        assert problem(stale)[:2] == (412, "precondition_failed")
    assert problem(face("DELETE", path))[:2] == (403, "forbidden")
    assert problem(face("PATCH", path, json={})) == (422, "invalid_input", "nothing to change")
    assert face("PATCH", path, json={"protected": False}).status_code == 200
    deleted = face("DELETE", path)
    assert deleted.json() == {**label, "description": f"{name}!"}
    assert problem(face("GET", path))[:2] == (404, "not_found")


def test_a_claim_is_disabled_and_a_role_is_not(face: Face) -> None:
    number = next(NUMBERS)
    claim = face("POST", "/v1/claims", json={"description": f"claim {number} to disable"}).json()
    role = face("POST", "/v1/roles", json={"description": f"role {number} to disable"}).json()

    disabled = face("PATCH", f"/v1/claims/{claim['id']}", json={"active": False})
    assert disabled.json() == {**claim, "active": False}
    refused = problem(face("PATCH", f"/v1/roles/{role['id']}", json={"active": False}))
    assert refused == (422, "invalid_input", "body.active: Extra inputs are not permitted")


def test_what_is_in_use_stays(face: Face) -> None:
    number = next(NUMBERS)
    role = face("POST", "/v1/roles", json={"description": f"role {number} in use"}).json()
    person = {"name": "U", "email": f"u{number}@example.com", "role": role["id"]}
    made = face("POST", "/v1/users", json={**person, "no_password": True})
    assert made.status_code == 201

    refused = face("DELETE", f"/v1/roles/{role['id']}")
    assert problem(refused)[:2] == (409, "conflict")
    assert refused.json()["details"] == {"users": 1}
    assert face("GET", f"/v1/roles/{role['id']}").json() == {**role, "users": 1}
