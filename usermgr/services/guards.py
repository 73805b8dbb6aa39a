"""Guards: the last active user who holds a protected role or claim keeps it.

A user counts for a role that they have, and for an active claim whose grant has not expired, while
they are active themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    literal,
    select,
    union_all,
)

from usermgr.db.engine import Operation
from usermgr.db.images import counts
from usermgr.db.models import claims, roles, user_claims, users
from usermgr.db.sql import in_ids
from usermgr.errors import Forbidden
from usermgr.records import Claim, Role

_NOUNS: Final = {roles: "role", claims: "claim"}


class Protected(NamedTuple):
    """A protected role or claim."""

    noun: str
    id: int
    description: str

    def __str__(self) -> str:
        return f'{self.noun} "{self.description}"'


@contextlib.contextmanager
def holders_kept(op: Operation, among: ColumnElement[bool] | None = None) -> Iterator[None]:
    """Refuse what the block does where it takes the last holder from a protected role or claim.

    ``among`` is a condition on ``users`` that everybody meets who may lose something in the block;
    without it that may be anybody. Their rows are locked by then, so that nobody else changes them
    meanwhile. One guard stands around all that an operation takes away, and the operation locks no
    user after it: the guard locks roles and claims, and whoever waits for one of those may have
    locked users. Raises Forbidden.

    Before the block one statement finds what is at stake; when that is nothing, it is the only one.
    After it, those rows are locked before the holders are counted: of two operations that take the
    last two holders, the second one waits here for the first, and then sees what it did.
    """
    at_stake = _find(op.connection, _has_holder(among))
    yield
    if at_stake:
        _lock(op.connection, at_stake)
        lost = _find_unheld(op, at_stake)
        if lost:
            raise _last_holder(lost)


def without_holder(op: Operation, labels: Sequence[Role] | Sequence[Claim]) -> list[Protected]:
    """Those of the roles or claims that are protected and that no active user holds, by id."""
    noun = "role" if isinstance(labels[0], Role) else "claim"
    return _find_unheld(op, [Protected(noun, label.id, label.description) for label in labels])


def is_protected(noun: str, description: str, what: str) -> Forbidden:
    """The error of a protected role or claim that was to be deleted or disabled: ``what``."""
    return Forbidden(
        f'the {noun} "{description}" is protected, and cannot be {what}',
        hint=f'take the protection away first: usermgr {noun} unprotect "{description}"',
    )


def _has_holder(among: ColumnElement[bool] | None) -> dict[Table, ColumnElement[bool]]:
    """Whether a user counts for a row of ``roles``, and for one of ``claims``."""
    somebody = [users.c.active.is_(True), *([] if among is None else [among])]
    has_role = select(literal(1)).where(users.c.role_id == roles.c.id, *somebody)
    holds = (
        select(literal(1))
        .join_from(user_claims, users, users.c.id == user_claims.c.user_id)
        .where(
            user_claims.c.claim_id == claims.c.id,
            counts(),
            *somebody,
        )
    )
    return {
        roles: _exists(has_role, roles),
        claims: and_(claims.c.active.is_(True), _exists(holds, claims)),
    }


def _exists(statement: Select[Any], outer: Table) -> ColumnElement[bool]:
    # With a limit PostgreSQL looks for one holder of each, and does not make a set of all.
    return statement.limit(1).correlate(outer).scalar_subquery().is_not(None)


def _find_unheld(op: Operation, among: Iterable[Protected]) -> list[Protected]:
    held = _has_holder(None)
    lacking = {
        table: and_(in_ids(table.c.id, ids), ~held[table])
        for table, ids in _ids(among).items()
        if ids
    }
    return _find(op.connection, lacking)


def _find(connection: Connection, conditions: dict[Table, ColumnElement[bool]]) -> list[Protected]:
    """The protected roles and claims that meet their condition, in one statement."""
    found = union_all(
        *(
            select(literal(_NOUNS[table]), table.c.id, table.c.description).where(
                table.c.protected.is_(True), condition
            )
            for table, condition in conditions.items()
        )
    )
    return sorted((Protected(*row) for row in connection.execute(found)), key=_order)


def _order(label: Protected) -> tuple[bool, int]:
    return label.noun == "claim", label.id


def _lock(connection: Connection, labels: Iterable[Protected]) -> None:
    """Keep other guards out until the transaction ends; whoever refers to the rows is not kept.

    Everybody locks roles first, then claims, each by id. SQLite has one writer anyway.
    """
    for table, ids in _ids(labels).items():
        if ids:
            rows = select(table.c.id).where(in_ids(table.c.id, ids)).order_by(table.c.id)
            connection.execute(rows.with_for_update(key_share=True)).all()


def _ids(labels: Iterable[Protected]) -> dict[Table, list[int]]:
    wanted = list(labels)
    return {
        table: [label.id for label in wanted if label.noun == noun]
        for table, noun in _NOUNS.items()
    }


def _last_holder(lost: Sequence[Protected]) -> Forbidden:
    noun, _, name = lost[0]
    return Forbidden(
        "no active user would be left with the protected " + " and ".join(map(str, lost)),
        hint=f"give the {noun} to another active user first, or take the protection away: "
        f'usermgr {noun} unprotect "{name}"',
        details={"protected": [label._asdict() for label in lost]},
    )
