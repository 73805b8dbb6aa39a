"""/v1/operations: the history as the command line tells it, and undo."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.support.serving import Face, problem

NUMBERS = itertools.count(1)


def create_role(face: Face) -> tuple[dict[str, Any], int]:
    """A new role, and the operation that made it."""
    name = f"role to undo {next(NUMBERS)}"
    role = face("POST", "/v1/roles", json={"description": name}).json()
    return role, newest(face)["id"]


def newest(face: Face) -> dict[str, Any]:
    """The newest operation."""
    first: dict[str, Any] = face("GET", "/v1/operations", params={"limit": 1}).json()["items"][0]
    return first


def test_operations_are_told_as_on_the_command_line(face: Face) -> None:
    for _ in range(3):
        create_role(face)
    first = face("GET", "/v1/operations", params={"limit": 2, "total": "true"})
    second = face("GET", first.headers["link"].partition(">")[0][1:])

    told = face.cli("operation", "list", "--limit", "4", "-o", "json").json
    assert first.json()["items"] + second.json()["items"] == told
    assert first.json()["total"] >= 4
    assert first.json()["next"] == str(told[1]["id"])
    assert [each["command"] for each in told[:3]] == ["role create"] * 3
    assert {each["source"] for each in told[:3]} == {"http"}
    assert all(each["actor"].startswith("token ") for each in told[:3])
    shown = face.cli("operation", "show", str(told[0]["id"]), "-o", "json").json
    assert face("GET", f"/v1/operations/{told[0]['id']}").json() == shown
    assert problem(face("GET", "/v1/operations/999999"))[:2] == (404, "not_found")


def test_an_operation_is_undone_once(face: Face) -> None:
    role, operation = create_role(face)
    path = f"/v1/operations/{operation}:undo"

    tried = face("POST", path, json={"dry_run": True}).json()
    assert (tried["roles_and_claims"], tried["operation_id"]) == (1, None)
    assert face("GET", f"/v1/roles/{role['id']}").status_code == 200
    undone = face("POST", path).json()
    assert undone == {**tried, "dry_run": False, "operation_id": newest(face)["id"]}
    assert newest(face)["undoes"] == operation
    assert problem(face("GET", f"/v1/roles/{role['id']}"))[0] == 404
    assert problem(face("POST", path))[:2] == (409, "conflict")
    redone = face("POST", f"/v1/operations/{undone['operation_id']}:undo", json={"strict": True})
    assert redone.status_code == 200
    assert face("GET", f"/v1/roles/{role['id']}").json() == role


def test_what_changed_since_is_left_or_with_strict_a_conflict(face: Face) -> None:
    role, operation = create_role(face)
    face("PATCH", f"/v1/roles/{role['id']}", json={"protected": True})
    path = f"/v1/operations/{operation}:undo"

    assert problem(face("POST", path, json={"strict": True}))[:2] == (409, "conflict")
    left = face("POST", path, json={}).json()
    assert (left["left"], left["roles_and_claims"], left["operation_id"]) == (1, 0, None)


@pytest.mark.parametrize("query", ["cursor=0", "cursor=x", "limit=0"])
@pytest.mark.any_database
def test_queries_that_are_refused(face: Face, query: str) -> None:
    assert problem(face("GET", f"/v1/operations?{query}"))[:2] == (422, "invalid_input")
