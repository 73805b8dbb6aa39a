"""/v1/users: what it answers, which the command line tells of the same database, too."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.support.serving import Face, problem

NUMBERS = itertools.count(1)
PASSWORD = "correct horse battery"
HASH = "$2b$04$abcdefghijklmnopqrstuuKPMcd4JqVGeCzQ1uQ1mLcSSIkFYq1Nu"


@pytest.fixture
def labels(face: Face) -> tuple[str, str]:
    """A role and a claim of this test's own."""
    number = next(NUMBERS)
    role, claim = f"role {number}", f"claim:{number}"
    assert face.cli("role", "create", role).exit_code == 0
    assert face.cli("claim", "create", claim).exit_code == 0
    return role, claim


def create(face: Face, role: str, **more: Any) -> dict[str, Any]:
    """Create somebody with an e-mail of their own."""
    number = next(NUMBERS)
    body = {"name": f"P {number}", "email": f"p{number}@example.com", "role": role, **more}
    created = face("POST", "/v1/users", json=body)
    assert created.status_code == 201, created.text
    shown: dict[str, Any] = created.json()
    assert created.headers["location"] == f"/v1/users/{shown['id']}"
    return shown


def shown(face: Face, user_id: int) -> Any:
    """The user as the command line shows it."""
    return face.cli("user", "show", str(user_id), "-o", "json").json


def verified(face: Face, user_id: int, password: str) -> bool:
    """Whether that is the user's password."""
    path = f"/v1/users/{user_id}/password:verify"
    answered = face("POST", path, json={"password": password})
    assert answered.status_code == 200
    assert answered.json().items() >= {"id": user_id}.items()
    return bool(answered.json()["verified"])


def test_a_created_user_is_shown_changed_and_deleted(face: Face, labels: tuple[str, str]) -> None:
    role, claim = labels
    made = create(face, role, claims=[claim], active=False, no_password=True)
    path = f"/v1/users/{made['id']}"

    assert made == shown(face, made["id"])
    found = face("GET", path)
    assert (found.json(), found.headers["etag"]) == (made, '"1"')
    changed = face("PATCH", path, json={"name": " Ána ", "active": True})
    assert changed.json() == shown(face, made["id"])
    assert changed.json() == {
        **made,
        "name": "Ána",
        "active": True,
        "version": 2,
        "updated_at": changed.json()["updated_at"],
    }
    assert changed.headers["etag"] == '"2"'
    deleted = face("DELETE", path)
    assert (deleted.status_code, deleted.json()) == (200, changed.json())
    assert problem(face("DELETE", path)) == (404, "not_found", f'no user "{made["id"]}"')
    told = face("GET", f"{path}/history").json()
    assert told["items"] == face.cli("user", "history", str(made["id"]), "-o", "json").json
    assert [change["action"] for change in told["items"]] == ["create", "update", "delete"]


def test_passwords(face: Face, labels: tuple[str, str]) -> None:
    role, _ = labels
    made = create(face, role)
    path = f"/v1/users/{made['id']}/password"
    generated = made.pop("generated_password")

    assert made["has_password"]
    assert verified(face, made["id"], generated)
    assert not verified(face, made["id"], PASSWORD)
    set_one = face("PUT", path, json={"password": PASSWORD})
    assert set_one.json() == shown(face, made["id"])
    assert verified(face, made["id"], PASSWORD)
    assert not verified(face, made["id"], generated)
    again = face("PUT", path, json={}).json()["generated_password"]
    assert verified(face, made["id"], again)
    assert face("PUT", path, json={"no_password": True}).json()["has_password"] is False
    assert not verified(face, made["id"], again)
    unknown = face("POST", "/v1/users/999999/password:verify", json={"password": PASSWORD})
    assert problem(unknown) == (404, "not_found", 'no user "999999"')


def test_a_weak_hash_that_comes_ready_is_replaced_when_its_password_is_right(
    face: Face, labels: tuple[str, str]
) -> None:
    import bcrypt

    weak = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    made = create(face, labels[0], password_hash=weak)

    assert verified(face, made["id"], PASSWORD)
    assert verified(face, made["id"], PASSWORD)
    history = face("GET", f"/v1/users/{made['id']}/history").json()["items"]
    assert [(each["action"], each["command"]) for each in history] == [
        ("create", "user create"),
        ("rehash", "user verify-password"),
    ]
    assert weak not in str(history)


def test_grants_and_the_role(face: Face, labels: tuple[str, str]) -> None:
    role, claim = labels
    made = create(face, role, no_password=True)
    path = f"/v1/users/{made['id']}"

    granted = face("PUT", f"{path}/claims/{claim}")
    assert granted.json()["claims"] == [claim]
    said = {"reason": "audit", "expires_at": "2999-01-31"}
    assert face("PUT", f"{path}/claims/{claim}", json=said).json() == shown(face, made["id"])
    (grant,) = face("GET", f"{path}/claims").json()["items"]
    assert (grant["claim"], grant["reason"]) == (claim, "audit")
    assert grant["expires_at"] == "2999-01-31T00:00:00.000000Z"
    face("PUT", f"{path}/claims/{grant['claim_id']}", json={"expires_at": None})
    (grant,) = face("GET", f"{path}/claims").json()["items"]
    assert (grant["reason"], grant["expires_at"]) == ("audit", None)
    past = face("PUT", f"{path}/claims/{claim}", json={"expires_at": "2020-01-31"})
    assert problem(past) == (422, "invalid_input", '"2020-01-31" is not in the future')
    assert face("DELETE", f"{path}/claims/{claim}").json()["claims"] == []
    assert face("DELETE", f"{path}/claims/{claim}").json()["version"] == 5
    assert problem(face("PUT", f"{path}/claims/nothing"))[:2] == (404, "not_found")
    shown_role = face.cli("role", "show", role, "-o", "json").json
    assert face("GET", f"{path}/role").json() == shown_role


def test_lists_are_paged_sorted_and_filtered_as_on_the_command_line(
    face: Face, labels: tuple[str, str]
) -> None:
    role, claim = labels
    made = [
        create(face, role, no_password=True, claims=[claim] * (n % 2), active=n != 3)
        for n in range(5)
    ]
    query = {"role": role, "sort": "email", "descending": "true", "limit": "2", "total": "true"}

    first = face("GET", "/v1/users", params=query)
    assert first.json()["total"] == 5
    pages, page = [first.json()["items"]], first
    while "link" in page.headers:
        link = page.headers["link"]
        assert link.endswith('>; rel="next"')
        assert f"cursor={page.json()['next']}" in link
        page = face("GET", link[1 : link.index(">")])
        pages.append(page.json()["items"])
    assert page.json()["next"] is None
    assert [len(each) for each in pages] == [2, 2, 1]
    ordered = sorted(made, key=lambda user: str(user["email"]), reverse=True)
    assert list(itertools.chain(*pages)) == ordered
    for options, words in (
        ({"claim": claim, "active": "true"}, ("--claim", claim, "--active")),
        ({"active": "false"}, ("--inactive",)),
        ({"search": "P@EXAMPLE"}, ("--search", "P@EXAMPLE")),
        ({"created_since": "1d", "sort": "name"}, ("--created-since", "1d", "--sort", "name")),
    ):
        found = face("GET", "/v1/users", params={"role": role, **options}).json()
        told = face.cli("user", "list", "--role", role, *words, "-o", "json").json
        assert found == {"items": told, "next": None}, options


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"name": 5}, "body.name: Input should be a valid string"),
    ({"name": "a\nb"}, 'the user name "a\\nb" contains the control character U+000A'),
    ({"email": "nobody"}, '"nobody" is not a valid e-mail'),
    ({"role": True}, "body.role.str: Input should be a valid string"),
    ({"active": "yes"}, "body.active: Input should be a valid boolean"),
    ({"password": "short"}, "the password has 5 characters"),
    ({"password": PASSWORD, "no_password": True}, "give one of password, password_hash and no"),
    ({"password_hash": "plain text"}, "the password_hash is refused: "),
    ({"id": 7}, "body.id: Extra inputs are not permitted"),
    ({"claims": "all"}, "body.claims: Input should be a valid list"),
]


@pytest.mark.parametrize(
    ("wrong", "detail"), BAD_BODIES, ids=[next(iter(b)) for b, _ in BAD_BODIES]
)
def test_bodies_that_are_refused(
    face: Face, labels: tuple[str, str], wrong: dict[str, Any], detail: str
) -> None:
    body = {"name": "P", "email": "refused@example.com", "role": labels[0], **wrong}
    refused = face("POST", "/v1/users", json=body)

    status, code, told = problem(refused)
    assert (status, code) == (422, "invalid_input")
    assert told.startswith(detail)
    for secret in ("short", PASSWORD, "plain text"):
        assert secret not in refused.text
    assert face("GET", "/v1/users", params={"search": "refused@"}).json()["items"] == []


@pytest.mark.parametrize(
    ("content", "media_type", "status", "detail"),
    [
        (b'{"name": ', "application/json", 400, "the body is not JSON"),
        (b"\xff", "application/json", 400, "the request cannot be read"),
        (b"[" * 100_000, "application/json", 400, "the request cannot be read"),
        (b"[]", "application/json", 422, "body: "),
        (b"", "application/json", 422, "body: Field required"),
        (b"{}", "text/plain", 415, "the body must be JSON"),
        (b"name=Ana", "application/x-www-form-urlencoded", 415, "the body must be JSON"),
        (b'{"name": "\\ud800", "email": "a@b.c", "role": 1}', "application/json", 422, "the user"),
    ],
)
def test_content_that_is_no_body(
    face: Face, content: bytes, media_type: str, status: int, detail: str
) -> None:
    headers = {"Content-Type": media_type}
    refused = problem(face("POST", "/v1/users", content=content, headers=headers))

    assert refused[0] == status
    assert refused[2].startswith(detail)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("limit=0", "query.limit: Input should be greater than or equal to 1"),
        ("limit=1001", "query.limit: Input should be less than or equal to 1000"),
        ("active=yes", "query.active: Input should be a valid boolean"),
        ("sort=password", "query.sort: Input should be "),
        ("limit=1&limit=2", 'the query parameter "limit": given twice'),
        ("cursor=x", '"x" is not a cursor'),
        ("created_since=soon", '"soon" is not a time'),
        ("rol=1", 'the query parameter "rol": no such parameter'),
    ],
)
def test_queries_that_are_refused(face: Face, query: str, detail: str) -> None:
    status, code, told = problem(face("GET", f"/v1/users?{query}"))

    assert (status, code) == (422, "invalid_input")
    assert told.startswith(detail)


def test_guards_hold_over_http(face: Face, labels: tuple[str, str]) -> None:
    role, _ = labels
    made = create(face, role, no_password=True)
    assert face.cli("role", "protect", role).exit_code == 0

    for method, body in (("DELETE", None), ("PATCH", {"active": False})):
        refused = problem(face(method, f"/v1/users/{made['id']}", json=body))
        assert refused[:2] == (403, "forbidden")
    assert shown(face, made["id"]) == made


def test_methods_that_a_path_knows_are_all_told(face: Face) -> None:
    for path, allow in (("/v1/users", "GET, POST"), ("/v1/users/1", "DELETE, GET, PATCH")):
        refused = face("PUT", path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allow)
