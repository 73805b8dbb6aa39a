"""/v1/users"""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from usermgr.api.answers import answer, user_tag
from usermgr.api.calls import Called
from usermgr.api.routing import Endpoints
from usermgr.records import User
from usermgr.services import lookup

ENDPOINTS = Endpoints("users")
UserId = Annotated[str, Path(description="The user's id.", pattern="^[0-9]{1,19}$")]


@ENDPOINTS.add("GET", "/users/{id:id}", "users:read", shows=User, problems=(404,))
def get_user(call: Called, id: UserId) -> Response:
    """Show one user with role and claims."""
    with call.read() as connection:
        user = lookup.find_user(connection, id)
    return answer(user, headers={"ETag": user_tag(user)})
