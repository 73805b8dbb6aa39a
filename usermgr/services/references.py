"""Names and ids that commands accept -> rows: roles, claims and users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, literal, or_, select, union_all

from usermgr.db.models import claims, roles, users
from usermgr.db.sql import fold
from usermgr.emails import lenient_email
from usermgr.errors import InvalidInput, NotFound
from usermgr.names import MAX_ID, parse_id, require_text, visible


class Label(NamedTuple):
    """A role or a claim by id and name."""

    id: int
    description: str


def label_condition(table: Table, reference: str) -> ColumnElement[bool]:
    """Which row of ``roles`` or ``claims`` the name or id means; case does not matter.

    Raises NotFound for an id that no row can have, InvalidInput for no text at all.
    """
    _require_some(reference, _kind(table))
    number = parse_id(reference.strip())
    if number is not None:
        if number > MAX_ID:
            raise no_such(table, reference)
        return table.c.id == number
    name = require_text(reference.strip(), _kind(table))
    return fold(table.c.description) == fold(name)


def user_condition(reference: str) -> ColumnElement[bool]:
    """Which row of ``users`` the id or e-mail means.

    Raises NotFound for an id that no row can have, InvalidInput for no text at all.
    """
    number = parse_id(reference.strip())
    if number is not None:
        if number > MAX_ID:
            raise no_such_user(reference)
        return users.c.id == number
    return users.c.email == user_email(reference)


def user_email(reference: str) -> str:
    """The e-mail that the reference to a user stands for, as it is stored."""
    _require_some(reference, "user")
    return lenient_email(require_text(reference, "user"))


def resolve_role(connection: Connection, reference: str) -> Label:
    """The role that the name or id means. Raises NotFound."""
    return _resolve(connection, roles, [reference])[0]


def resolve_claims(connection: Connection, references: Iterable[str]) -> list[Label]:
    """The claims that the names or ids mean, each once, in the order given. Raises NotFound."""
    return _unique(_resolve(connection, claims, list(references)))


def resolve_role_and_claims(
    connection: Connection, role: str, claim_references: Sequence[str]
) -> tuple[Label, list[Label]]:
    """A role and claims in one statement. Raises NotFound, the role first."""
    statement = union_all(
        select(literal("role").label("kind"), roles.c.id, roles.c.description).where(
            label_condition(roles, role)
        ),
        *(
            select(literal(f"claim {i}").label("kind"), claims.c.id, claims.c.description).where(
                label_condition(claims, reference)
            )
            for i, reference in enumerate(claim_references)
        ),
    )
    found = {row.kind: Label(row.id, row.description) for row in connection.execute(statement)}
    if "role" not in found:
        raise no_such(roles, role)
    for i, reference in enumerate(claim_references):
        if f"claim {i}" not in found:
            raise no_such(claims, reference)
    return found["role"], _unique(found[f"claim {i}"] for i in range(len(claim_references)))


def no_such(table: Table, reference: str) -> NotFound:
    """The error for a role or claim that does not exist."""
    kind = _kind(table)
    return NotFound(
        f'no {kind} "{visible(reference)}"',
        hint=f"usermgr {kind} list shows them, usermgr {kind} create makes one",
    )


def no_such_user(reference: str) -> NotFound:
    """The error for a user that does not exist."""
    return NotFound(
        f'no user "{visible(reference)}"',
        hint="a user is named by id or e-mail; usermgr user list --search TEXT finds them",
    )


def _resolve(connection: Connection, table: Table, references: list[str]) -> list[Label]:
    if not references:
        raise InvalidInput(f"no {_kind(table)} was named")
    conditions = [label_condition(table, reference) for reference in references]
    # The conditions are asked for one by one as columns, so that each row tells which it met.
    statement = select(table.c.id, table.c.description, *conditions).where(or_(*conditions))
    rows = connection.execute(statement).all()
    found = []
    for i, reference in enumerate(references):
        matches = [Label(row[0], row[1]) for row in rows if row[2 + i]]
        if not matches:
            raise no_such(table, reference)
        found.append(matches[0])
    return found


def _require_some(reference: str, kind: str) -> None:
    """Adopted tables may hold an empty name; nobody means it."""
    if not reference.strip():
        raise InvalidInput(f"the {kind} is empty", hint="a variable of the shell may be unset")


def _unique(labels: Iterable[Label]) -> list[Label]:
    return list(dict.fromkeys(labels))


def _kind(table: Table) -> str:
    return "role" if table is roles else "claim"
