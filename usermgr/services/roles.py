"""Roles: every user has exactly one."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from usermgr.db.engine import Operation
from usermgr.db.errors import ROLE_UNIQUE
from usermgr.db.models import roles, users
from usermgr.records import UNSET, Role, Unset
from usermgr.services.labels import Labels, given

ROLES = Labels(
    noun="role",
    table=roles,
    holders=users.c.role_id == roles.c.id,
    unique=ROLE_UNIQUE,
    build=lambda row: Role(row.id, row.description, row.protected, row.users),
)


def create_role(op: Operation, name: str, *, if_not_exists: bool = False) -> tuple[Role, bool]:
    """The role and whether it was made now. Raises Conflict when the name is taken."""
    return ROLES.create(op, name, if_not_exists=if_not_exists)


def find_role(connection: Connection, reference: str) -> Role:
    """The role that the name or id means. Raises NotFound."""
    return ROLES.find(connection, reference)


def list_roles(connection: Connection) -> list[Role]:
    """Every role, by id."""
    return ROLES.list(connection)


def rename_role(op: Operation, reference: str, name: str) -> Role:
    """Give a role another name. Raises NotFound, and Conflict when the name is taken."""
    return ROLES.update(op, reference, {"description": name})


def update_role(
    op: Operation,
    reference: str,
    *,
    name: str | Unset = UNSET,
    protected: bool | Unset = UNSET,
) -> Role:
    """Rename or protect a role, in one change. Raises what ``rename_role`` raises."""
    values = {"description": name, "protected": protected}
    return ROLES.update(op, reference, given(values))


def protect_roles(
    op: Operation, references: Sequence[str], *, protected: bool = True
) -> Sequence[Role]:
    """Protect roles, or take the protection away: all, each once, or none. Raises NotFound."""
    return ROLES.protect(op, references, protected=protected)


def delete_role(op: Operation, reference: str) -> Role:
    """Delete a role.

    Raises NotFound, Forbidden when it is protected, and Conflict with the number of users that
    have it.
    """
    return ROLES.delete(op, reference)
