"""/v1/users"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from usermgr.api import passwords
from usermgr.api.answers import Items, answer, items, user_tag, values_of
from usermgr.api.bodies import (
    Boolean,
    GivenPassword,
    Id,
    Limit,
    NewUserBody,
    PasswordBody,
    UserPatch,
    command_of,
)
from usermgr.api.calls import Call, Called
from usermgr.api.routing import PREFIX, Endpoints
from usermgr.db.engine import Operation
from usermgr.formats.whens import parse_when
from usermgr.records import Change, Role, User, UserFilter, UserSort, Verification
from usermgr.services import history, lookup, roles
from usermgr.services import users as service

ENDPOINTS = Endpoints("users")
_CHANGES = (404, 409, 412, 428)

Claims = Annotated[list[str], Query(description="Held by the user; several: all of them.")]


@dataclass(frozen=True, slots=True)
class UserOnce(User):
    """A user, and the password if one was generated: it is not shown again."""

    generated_password: str | None = None


@dataclass(frozen=True, slots=True)
class UserItems(Items[User]):
    """One page of users; ``total`` counts all that match, where that was asked for."""

    total: int | None = None


@ENDPOINTS.add("GET", "/users", "users:read", shows=UserItems, problems=(404,))
def list_users(
    call: Called,
    role: Annotated[str | None, Query(description="Name or id.")] = None,
    claim: Claims = [],  # noqa: B006 - FastAPI copies it
    active: Boolean | None = None,
    search: Annotated[str | None, Query(description="Text in name or e-mail, in any case.")] = None,
    created_since: Annotated[str | None, Query(description="A date, a time, or 7d.")] = None,
    sort: UserSort = "id",
    descending: Boolean = False,
    limit: Limit = 100,
    cursor: Annotated[str | None, Query(description="``next`` of the page before.")] = None,
    total: Annotated[Boolean, Query(description="Count all that match.")] = False,
) -> Response:
    """List users, page by page."""
    since = None if created_since is None else parse_when(created_since)
    wanted = UserFilter(role, tuple(claim), active, search, since)
    with call.read() as connection:
        page = lookup.list_users(
            connection,
            wanted,
            sort=sort,
            descending=descending,
            limit=limit,
            after=cursor,
            count=total,
        )
    counted = {"total": page.total} if total else {}
    return items(
        page.users, page.next_cursor, link=_next(call.request, page.next_cursor), **counted
    )


@ENDPOINTS.add("POST", "/users", "users:write", shows=UserOnce, status=201, problems=(404, 409))
def create_user(call: Called, body: NewUserBody) -> Response:
    """Create a user; a password that is generated is answered once."""
    chosen = passwords.choose(call, body)

    def act(op: Operation) -> Response:
        user = service.create_user(op, body.record(chosen.hash), given=chosen.given)
        headers = {"Location": f"{PREFIX}/users/{user.id}", "ETag": user_tag(user)}
        return answer({**values_of(user), **chosen.shown}, status=201, headers=headers)

    return call.once("user create", act)


@ENDPOINTS.add("GET", "/users/{id:id}", "users:read", shows=User, problems=(404,))
def get_user(call: Called, id: Id) -> Response:
    """Show one user with role and claims."""
    with call.read() as connection:
        return _shown(lookup.find_user(connection, id))


@ENDPOINTS.add("PATCH", "/users/{id:id}", "users:write", shows=User, problems=_CHANGES)
def update_user(call: Called, id: Id, body: UserPatch) -> Response:
    """Change name, e-mail, role or whether the user is active; what is not given stays."""
    with call.operation(command_of("user", body)) as op:
        require_version(call, op, id)
        updated = service.update_user(op, id, body.record())
    return _shown(updated)


@ENDPOINTS.add("DELETE", "/users/{id:id}", "users:write", shows=User, problems=_CHANGES)
def delete_user(call: Called, id: Id) -> Response:
    """Delete a user; answers what the user was. The recycle bin keeps it for a time."""
    with call.operation("user delete") as op:
        require_version(call, op, id)
        deleted = service.delete_user(op, id)
    return answer(deleted)


@ENDPOINTS.add("PUT", "/users/{id:id}/password", "users:write", shows=UserOnce, problems=_CHANGES)
def set_password(call: Called, id: Id, body: PasswordBody) -> Response:
    """Set a user's password; one that is generated is answered once."""
    chosen = passwords.choose(call, body)
    with call.operation("user set-password") as op:
        require_version(call, op, id)
        user = service.set_password(op, id, chosen.hash, given=chosen.given)
    return answer({**values_of(user), **chosen.shown}, headers={"ETag": user_tag(user)})


@ENDPOINTS.add(
    "POST", "/users/{id:id}/password:verify", "users:write", shows=Verification, problems=(404,)
)
def verify_password(call: Called, id: Id, body: GivenPassword) -> Response:
    """Tell whether a password is the user's. A weak hash of a right one is replaced, which is why
    this needs a scope to write."""
    return answer(passwords.verify(call, id, body.password))


@ENDPOINTS.add("GET", "/users/{id:id}/role", "users:read", shows=Role, problems=(404,))
def get_user_role(call: Called, id: Id) -> Response:
    """Show the role of a user."""
    with call.read() as connection:
        user = lookup.find_user(connection, id)
        return answer(roles.find_role(connection, str(user.role_id)))


@ENDPOINTS.add("GET", "/users/{id:id}/history", "users:read", shows=Items[Change], problems=(404,))
def get_user_history(call: Called, id: Id) -> Response:
    """Every change of a user, also of a deleted one, oldest first."""
    with call.read() as connection:
        return items(history.user_history(connection, id))


def require_version(call: Call, op: Operation, id: str) -> None:
    """Hold the user to the request's If-Match."""
    call.require_match(lambda: user_tag(service.lock_user(op.connection, id).user))


def _shown(user: User) -> Response:
    return answer(user, headers={"ETag": user_tag(user)})


def _next(request: Request, cursor: str | None) -> str | None:
    """Where the next page is."""
    if cursor is None:
        return None
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f"{request.url.path}?{urlencode([*kept, ('cursor', cursor)])}"
