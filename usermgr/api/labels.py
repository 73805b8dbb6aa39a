"""/v1/roles and /v1/claims"""

from __future__ import annotations

import hashlib
import json

from starlette.responses import Response

from usermgr.api.answers import Items, answer, items
from usermgr.api.bodies import ClaimPatch, Id, NewLabel, RolePatch, command_of
from usermgr.api.calls import Call, Called
from usermgr.api.routing import PREFIX, Endpoints
from usermgr.db.engine import Operation
from usermgr.records import Claim, Role
from usermgr.services import claims, labels, roles

ROLES = Endpoints("roles")
CLAIMS = Endpoints("claims")
_CHANGES = (404, 409, 412, 428)


@ROLES.add("GET", "/roles", "roles:read", shows=Items[Role])
def list_roles(call: Called) -> Response:
    """Every role, with the number of users that have it."""
    with call.read() as connection:
        return items(roles.list_roles(connection))


@ROLES.add("POST", "/roles", "roles:write", shows=Role, status=201, problems=(409,))
def create_role(call: Called, body: NewLabel) -> Response:
    """Create a role."""
    return call.once(
        "role create", lambda op: _created(roles.create_role(op, body.description)[0], "roles")
    )


@ROLES.add("GET", "/roles/{id:id}", "roles:read", shows=Role, problems=(404,))
def get_role(call: Called, id: Id) -> Response:
    """Show one role."""
    with call.read() as connection:
        return _shown(roles.find_role(connection, id))


@ROLES.add("PATCH", "/roles/{id:id}", "roles:write", shows=Role, problems=_CHANGES)
def update_role(call: Called, id: Id, body: RolePatch) -> Response:
    """Rename or protect a role; what is not given stays."""
    with call.operation(command_of("role", body)) as op:
        _require_same(call, op, roles.ROLES, id)
        changed = roles.update_role(op, id, name=body.description, protected=body.protected)
    return _shown(changed)


@ROLES.add("DELETE", "/roles/{id:id}", "roles:write", shows=Role, problems=_CHANGES)
def delete_role(call: Called, id: Id) -> Response:
    """Delete a role that no user has, and that is not protected."""
    with call.operation("role delete") as op:
        _require_same(call, op, roles.ROLES, id)
        deleted = roles.delete_role(op, id)
    return answer(deleted)


@CLAIMS.add("GET", "/claims", "claims:read", shows=Items[Claim])
def list_claims(call: Called) -> Response:
    """Every claim, with the number of users that hold it."""
    with call.read() as connection:
        return items(claims.list_claims(connection))


@CLAIMS.add("POST", "/claims", "claims:write", shows=Claim, status=201, problems=(409,))
def create_claim(call: Called, body: NewLabel) -> Response:
    """Create a claim."""
    return call.once(
        "claim create", lambda op: _created(claims.create_claim(op, body.description)[0], "claims")
    )


@CLAIMS.add("GET", "/claims/{id:id}", "claims:read", shows=Claim, problems=(404,))
def get_claim(call: Called, id: Id) -> Response:
    """Show one claim."""
    with call.read() as connection:
        return _shown(claims.find_claim(connection, id))


@CLAIMS.add("PATCH", "/claims/{id:id}", "claims:write", shows=Claim, problems=_CHANGES)
def update_claim(call: Called, id: Id, body: ClaimPatch) -> Response:
    """Rename, enable, disable or protect a claim; what is not given stays."""
    with call.operation(command_of("claim", body)) as op:
        _require_same(call, op, claims.CLAIMS, id)
        changed = claims.update_claim(
            op, id, name=body.description, active=body.active, protected=body.protected
        )
    return _shown(changed)


@CLAIMS.add("DELETE", "/claims/{id:id}", "claims:write", shows=Claim, problems=_CHANGES)
def delete_claim(call: Called, id: Id) -> Response:
    """Delete a claim that no user holds, and that is not protected."""
    with call.operation("claim delete") as op:
        _require_same(call, op, claims.CLAIMS, id)
        deleted = claims.delete_claim(op, id)
    return answer(deleted)


def label_tag(label: Role | Claim) -> str:
    """The ETag: of everything but the number of users, which is not the label's own."""
    told = json.dumps(labels.image(label), sort_keys=True).encode()
    return f'"{hashlib.sha256(told).hexdigest()[:16]}"'


def _require_same(
    call: Call, op: Operation, kind: labels.Labels[Role] | labels.Labels[Claim], id: str
) -> None:
    """Hold the role or claim to the request's If-Match."""
    call.require_match(lambda: label_tag(kind.lock(op.connection, id)))


def _shown(label: Role | Claim) -> Response:
    return answer(label, headers={"ETag": label_tag(label)})


def _created(label: Role | Claim, path: str) -> Response:
    headers = {"Location": f"{PREFIX}/{path}/{label.id}", "ETag": label_tag(label)}
    return answer(label, status=201, headers=headers)
