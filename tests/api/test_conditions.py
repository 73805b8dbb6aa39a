"""If-Match and Idempotency-Key: changes for those who know what they change, and changes once."""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from typing import Any

import pytest
from sqlalchemy import select, text

from tests.support.databases import open_database
from tests.support.serving import Face, problem, serving
from usermgr.db.models import idempotency_keys

NUMBERS = itertools.count(1)


@pytest.fixture
def person(face: Face) -> dict[str, Any]:
    """What somebody of this test's own is created from."""
    number = next(NUMBERS)
    assert face.cli("role", "create", "common", "--if-not-exists").exit_code == 0
    return {"name": f"Q {number}", "email": f"q{number}@example.com", "role": "common"}


def create(face: Face, person: dict[str, Any], key: str | None = None, **more: Any) -> Any:
    """Create the person, with a key."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return face("POST", "/v1/users", json=person, headers=headers, **more)


def test_who_knows_another_version_changes_nothing(face: Face, person: dict[str, Any]) -> None:
    made = create(face, person).json()
    path = f"/v1/users/{made['id']}"
    changes = (
        ("PATCH", path, {"name": "R"}),
        ("PUT", f"{path}/password", {"no_password": True}),
        ("PUT", f"{path}/claims/1", None),
        ("DELETE", f"{path}/claims/1", None),
        ("DELETE", path, None),
    )

    for method, where, body in changes:
        for tag in ('"2"', 'W/"1"', '"2", "3"', '""'):
            refused = face(method, where, json=body, headers={"If-Match": tag})
            assert problem(refused)[:2] == (412, "precondition_failed")
            assert refused.headers["etag"] == '"1"'
        refused = face(method, where, json=body, headers={"If-Match": "1"})
        assert problem(refused)[:2] == (400, "bad_request")
    assert face("GET", path).headers["etag"] == '"1"'
    for version, tag in enumerate(('"1"', '"7", "2"', "*"), start=2):
        headers = {"If-Match": tag}
        changed = face("PATCH", path, json={"name": f"R {version}"}, headers=headers)
        assert changed.headers["etag"] == f'"{version}"'
    missing = face("PATCH", "/v1/users/999999", json={"name": "R"}, headers={"If-Match": "*"})
    assert problem(missing)[0] == 404


def test_a_condition_can_be_required(migrated_sqlite_url: str) -> None:
    with serving(migrated_sqlite_url, env={"USERMGR_HTTP_REQUIRE_MATCH": "1"}) as face:
        face.cli("role", "create", "common")
        body = {"name": "Q", "email": "q@example.com", "role": 1, "no_password": True}
        assert face("POST", "/v1/users", json=body).status_code == 201
        refused = face("PATCH", "/v1/users/1", json={"name": "R"})
        assert problem(refused)[:2] == (428, "precondition_required")
        changed = face("PATCH", "/v1/users/1", json={"name": "R"}, headers={"If-Match": '"1"'})
        assert changed.status_code == 200


def test_a_repeated_request_is_done_once_and_answered_alike(
    face: Face, person: dict[str, Any]
) -> None:
    key = secrets.token_hex()
    first, again = create(face, person, key), create(face, person, key)

    assert first.json()["generated_password"]
    for name in ("etag", "location", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert (again.status_code, again.content) == (201, first.content)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert problem(create(face, {**person, "name": "Other"}, key)) == (
        *(422, "invalid_input", "the Idempotency-Key was used for another request"),
    )
    # Another token's key is another key; and the e-mail is taken.
    assert problem(create(face, person, key, token="users:write"))[:2] == (409, "conflict")
    assert problem(create(face, person, "a b"))[:2] == (400, "bad_request")


def test_what_is_kept_of_an_answer_is_read_by_the_token_alone(
    face: Face, person: dict[str, Any]
) -> None:
    key = secrets.token_hex()
    made = create(face, person, key).json()

    database = open_database(face.database_url)
    kept = select(idempotency_keys).where(idempotency_keys.c.key == key)
    with database.read() as connection:
        row = connection.execute(kept).one()
    assert made["email"] not in str(row)
    assert made["generated_password"] not in str(row)
    assert row.operation_id is not None
    assert face.cli("user", "erase", str(made["id"]), "--yes").exit_code == 0
    with database.read() as connection:
        assert connection.execute(kept).first() is None


def test_a_failed_request_may_be_repeated(face: Face, person: dict[str, Any]) -> None:
    key = secrets.token_hex()
    wrong = {**person, "role": f"role {key}"}
    assert problem(create(face, wrong, key))[:2] == (404, "not_found")

    assert face.cli("role", "create", wrong["role"]).exit_code == 0
    assert create(face, wrong, key).status_code == 201


def test_a_request_whose_like_is_being_worked_on_is_a_conflict(
    face: Face, person: dict[str, Any]
) -> None:
    key, answers = secrets.token_hex(), []
    database = open_database(face.database_url)
    # Keeps whoever creates a user waiting, inside the transaction.
    holding = "SELECT 1" if database.is_sqlite else "LOCK TABLE users IN SHARE MODE"
    person["no_password"] = True
    with database.connect() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.execute(text(holding))
        first = threading.Thread(target=lambda: answers.append(create(face, person, key)))
        first.start()
        time.sleep(0.5)
        second = create(face, person, key)
        connection.rollback()
        first.join()
    assert problem(second)[:2] == (409, "conflict")
    assert [answer.status_code for answer in answers] == [201]
    again = create(face, person, key)
    assert json.loads(again.content) == answers[0].json()
