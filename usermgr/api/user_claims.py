"""/v1/users/{id}/claims"""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Path
from starlette.responses import Response

from usermgr.api.answers import Items, answer, items, user_tag
from usermgr.api.bodies import GrantBody, Id
from usermgr.api.calls import Called
from usermgr.api.routing import Endpoints
from usermgr.api.users import require_version
from usermgr.formats.whens import parse_until
from usermgr.records import Grant, User
from usermgr.services import grants, users

ENDPOINTS = Endpoints("users")
_CHANGES = (404, 409, 412, 428)

ClaimName = Annotated[
    str, Path(description="The claim's id, or its name if there is no slash in it.")
]


@ENDPOINTS.add("GET", "/users/{id:id}/claims", "users:read", shows=Items[Grant], problems=(404,))
def list_user_claims(call: Called, id: Id) -> Response:
    """What a user was granted, with reasons and ends."""
    with call.read() as connection:
        return items(grants.list_grants(connection, id))


@ENDPOINTS.add("PUT", "/users/{id:id}/claims/{claim}", "users:write", shows=User, problems=_CHANGES)
def grant_claim(
    call: Called, id: Id, claim: ClaimName, body: Annotated[GrantBody | None, Body()] = None
) -> Response:
    """Grant a claim, or change what is said of the grant; answers the user."""
    said = body or GrantBody()
    until = parse_until(said.expires_at) if isinstance(said.expires_at, str) else said.expires_at
    with call.operation("user grant") as op:
        require_version(call, op, id)
        user = grants.grant_claims(op, id, [claim], reason=said.reason, expires_at=until)
    return answer(user, headers={"ETag": user_tag(user)})


@ENDPOINTS.add(
    "DELETE", "/users/{id:id}/claims/{claim}", "users:write", shows=User, problems=_CHANGES
)
def revoke_claim(call: Called, id: Id, claim: ClaimName) -> Response:
    """Revoke a claim; one that the user does not hold is no error. Answers the user."""
    with call.operation("user revoke") as op:
        require_version(call, op, id)
        user = users.revoke_claims(op, id, [claim])
    return answer(user, headers={"ETag": user_tag(user)})
