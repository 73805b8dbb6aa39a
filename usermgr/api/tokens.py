"""/v1/tokens: nobody can give more than they have."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from usermgr.api.answers import Items, answer, items, values_of
from usermgr.api.bodies import Id, NewTokenBody, RotateBody
from usermgr.api.calls import Call, Called
from usermgr.api.routing import PREFIX, Endpoints
from usermgr.db.engine import Operation
from usermgr.errors import Forbidden
from usermgr.records import Token
from usermgr.services import tokens as service

ENDPOINTS = Endpoints("tokens")


@dataclass(frozen=True, slots=True)
class TokenOnce(Token):
    """A token with its text, which is not shown again."""

    token: str


@ENDPOINTS.add("GET", "/tokens", "tokens:read", shows=Items[Token])
def list_tokens(call: Called) -> Response:
    """Every token, revoked and expired ones too."""
    with call.read() as connection:
        return items(service.list_tokens(connection))


@ENDPOINTS.add("POST", "/tokens", "tokens:write", shows=TokenOnce, status=201, problems=(404, 409))
def create_token(call: Called, body: NewTokenBody) -> Response:
    """Create a token, whose text is answered once. It may do nothing that the one it is asked with
    may not do."""
    new = body.record()
    _require_own(call, new.scopes)

    def act(op: Operation) -> Response:
        token, text = service.create_token(op, new)
        headers = {"Location": f"{PREFIX}/tokens/{token.id}"}
        return answer({**values_of(token), "token": text}, status=201, headers=headers)

    return call.once("token create", act)


@ENDPOINTS.add("GET", "/tokens/{id:id}", "tokens:read", shows=Token, problems=(404,))
def get_token(call: Called, id: Id) -> Response:
    """Show one token."""
    with call.read() as connection:
        return answer(service.find_token(connection, id))


@ENDPOINTS.add(
    "POST", "/tokens/{id:id}:rotate", "tokens:write", shows=TokenOnce, problems=(404, 409)
)
def rotate_token(call: Called, id: Id, body: RotateBody) -> Response:
    """Give a token another text, answered once, and another end. The former text ends within five
    seconds."""

    def act(op: Operation) -> Response:
        token, text = service.rotate_token(op, id, expires_at=body.until)
        # Whoever gets the text could do what the token may do.
        _require_own(call, token.scopes)
        return answer({**values_of(token), "token": text})

    return call.once("token rotate", act)


@ENDPOINTS.add("POST", "/tokens/{id:id}:revoke", "tokens:write", shows=Token, problems=(404, 409))
def revoke_token(call: Called, id: Id) -> Response:
    """Take a token's power away for good, within five seconds."""
    return call.once("token revoke", lambda op: answer(service.revoke_token(op, id)))


def _require_own(call: Call, scopes: tuple[str, ...]) -> None:
    lacking = [scope for scope in scopes if scope not in call.bearer.token.scopes]
    if lacking:
        raise Forbidden(
            "the token would have scopes that yours lacks: " + ", ".join(lacking),
            hint="ask for fewer scopes",
        )
