"""One table of scenarios through both faces: same records, same errors, same history."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any, Final

from tests.support.commands import Result, run_inside
from tests.support.serving import make_tokens, serving

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Step:
    """The same thing said to both faces, and how it ends; ``{newest}`` is the newest operation."""

    words: str
    method: str
    path: str
    body: dict[str, Any] | None = None
    code: str = "ok"
    stdin: str = ""


STEPS = (
    Step("role create admin", "POST", "/roles", {"description": "admin"}),
    Step("role create Admin", "POST", "/roles", {"description": "Admin"}, "conflict"),
    Step("role create 12", "POST", "/roles", {"description": "12"}, "invalid_input"),
    Step("role create guest", "POST", "/roles", {"description": "guest"}),
    Step("claim create a:read", "POST", "/claims", {"description": "a:read"}),
    Step("claim create b:read", "POST", "/claims", {"description": "b:read"}),
    Step(
        "user create --name Ana --email Ana@Example.COM --role ADMIN --claim a:read --no-password",
        *("POST", "/users"),
        {"name": "Ana", "email": "Ana@Example.COM", "role": "ADMIN", "claims": ["a:read"]}
        | {"no_password": True},
    ),
    Step(
        "user create --name Ana --email ana@example.com --role 1 --no-password",
        *("POST", "/users"),
        {"name": "Ana", "email": "ana@example.com", "role": 1, "no_password": True},
        "conflict",
    ),
    Step(
        "user create --name B --email b@example.com --role nobody --no-password",
        *("POST", "/users"),
        {"name": "B", "email": "b@example.com", "role": "nobody", "no_password": True},
        "not_found",
    ),
    Step(
        "user create --name B --email b@example.com --role guest --password-stdin",
        *("POST", "/users"),
        {"name": "B", "email": "b@example.com", "role": "guest", "password": "b" * 20},
        "invalid_input",
        "b" * 20,
    ),
    Step(
        "user create --name B --email b@example.com --role guest --password-stdin",
        *("POST", "/users"),
        {"name": "B", "email": "b@example.com", "role": "guest", "password": PASSWORD},
        "ok",
        PASSWORD,
    ),
    Step("user show 1", "GET", "/users/1"),
    Step("user show 999999", "GET", "/users/999999", None, "not_found"),
    Step("user list", "GET", "/users"),
    Step("user list --claim a:read --sort email", "GET", "/users?claim=a:read&sort=email"),
    Step("user list --role nobody", "GET", "/users?role=nobody", None, "not_found"),
    Step("user list --after x", "GET", "/users?cursor=x", None, "invalid_input"),
    Step("user update 1 --name Ana-Lima", "PATCH", "/users/1", {"name": "Ana-Lima"}),
    Step("user update 1 --name Ana-Lima", "PATCH", "/users/1", {"name": "Ana-Lima"}),
    Step("user update 1", "PATCH", "/users/1", {}, "invalid_input"),
    Step("user update 1 --email no", "PATCH", "/users/1", {"email": "no"}, "invalid_input"),
    Step("user grant 1 b:read --reason why", "PUT", "/users/1/claims/b:read", {"reason": "why"}),
    Step("user revoke 1 a:read", "DELETE", "/users/1/claims/a:read"),
    Step("user grant 1 c:read", "PUT", "/users/1/claims/c:read", None, "not_found"),
    Step("user disable 1", "PATCH", "/users/1", {"active": False}),
    Step(
        "user set-password 1 --password-stdin",
        *("PUT", "/users/1/password", {"password": PASSWORD}, "ok", PASSWORD),
    ),
    Step(
        "user verify-password 1 --password-stdin",
        *("POST", "/users/1/password:verify", {"password": PASSWORD}, "ok", PASSWORD),
    ),
    Step("role delete admin", "DELETE", "/roles/1", None, "conflict"),
    Step("role show admin", "GET", "/roles/1"),
    Step("role update admin --name boss", "PATCH", "/roles/1", {"description": "boss"}),
    Step("role list", "GET", "/roles"),
    Step("role protect guest", "PATCH", "/roles/{guest}", {"protected": True}),
    Step("user delete b@example.com --yes", "DELETE", "/users/{b}", None, "forbidden"),
    Step("claim disable b:read", "PATCH", "/claims/2", {"active": False}),
    Step("claim list", "GET", "/claims"),
    Step("user history 1", "GET", "/users/1/history"),
    Step("user delete 1 --yes", "DELETE", "/users/1"),
    Step("undo {newest}", "POST", "/operations/{newest}:undo"),
    Step("undo {before}", "POST", "/operations/{before}:undo", None, "conflict"),
    Step("user history 1", "GET", "/users/1/history"),
    Step("operation list", "GET", "/operations"),
)


_VARY: Final = {"at", "created_at", "updated_at", "started_at", "finished_at", "actor", "source"}


def test_both_faces_do_the_same(database_url: str, other_database_url: str) -> None:
    env = {"USERMGR_DATABASE_URL": other_database_url, "USERMGR_ACTOR": "tester"}
    make_tokens(other_database_url)  # As the server's database has them.

    def shell(line: str, stdin: str = "") -> Result:
        return run_inside((*shlex.split(line), "-o", "json"), stdin, env)

    with serving(database_url) as face:
        for number, step in enumerate(STEPS):
            newest = shell("operation list --limit 2").json
            assert face("GET", "/v1/operations?limit=2").json()["items"][0]["id"] == newest[0]["id"]
            ids = {"newest": newest[0]["id"], "before": newest[1]["id"] if newest[1:] else None}
            if "{guest}" in step.path:
                ids["guest"] = shell("role show guest").json["id"]
            if "{b}" in step.path:
                ids["b"] = shell("user show b@example.com").json["id"]
            told = shell(step.words.format(**ids), step.stdin)
            answered = face(step.method, f"/v1{step.path.format(**ids)}", json=step.body)

            where = f"{number}: {step.words}"
            if step.code == "ok":
                assert (told.exit_code, told.stderr) == (0, ""), where
                assert answered.status_code in (200, 201), where
                content = answered.json()
                assert alike(content.get("items", content)) == alike(told.json), where
            else:
                error = json_error(told)
                assert (error["code"], answered.json()["code"]) == (step.code, step.code), where
                assert answered.json()["detail"] == error["message"], where


def alike(told: Any) -> Any:
    """What was told without times, and without who did it."""
    if isinstance(told, list):
        return [alike(each) for each in told]
    if isinstance(told, dict):
        return {key: alike(value) for key, value in told.items() if key not in _VARY}
    return told


def json_error(result: Result) -> dict[str, Any]:
    """The error that a command told as JSON."""
    assert result.stdout == ""
    error: dict[str, Any] = json.loads(result.stderr)["error"]
    return error
