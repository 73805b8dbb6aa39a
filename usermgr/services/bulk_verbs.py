"""What bulk verbs do to the users that are selected: which of them it changes, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    delete,
    func,
    insert,
    literal,
    select,
    true,
    update,
)

from usermgr.db import changing
from usermgr.db.engine import Operation
from usermgr.db.errors import referred_to
from usermgr.db.images import counts
from usermgr.db.models import claims, roles, user_claims, users
from usermgr.db.selecting import selected
from usermgr.db.sql import in_ids
from usermgr.names import canonical_name
from usermgr.records import UNSET, Unset
from usermgr.services.references import Label, no_such, resolve_claims, resolve_role


@dataclass(frozen=True, slots=True)
class Change:
    """What a verb does to the users in ``selecting.selected``.

    ``differs`` says of a user whether it changes anything; ``takes`` whether it can take a holder
    from a protected role or claim.
    """

    action: str
    differs: ColumnElement[bool]
    apply: Callable[[Operation], object]
    takes: bool


Prepare = Callable[[Connection], Change]
"""Looks up what the change names. Raises NotFound."""


def enabling(_: Connection) -> Change:
    """Enable users."""
    return _setting_active(active=True)


def disabling(_: Connection) -> Change:
    """Disable users."""
    return _setting_active(active=False)


def deleting(_: Connection) -> Change:
    """Delete users with their grants; the recycle bin keeps them."""

    def apply(op: Operation) -> None:
        with referred_to("one of the users"):
            changing.remove(op, selected.name)

    return Change("delete", true(), apply, takes=True)


def setting_role(role: str) -> Prepare:
    """Give users another role."""

    def prepare(connection: Connection) -> Change:
        wanted = resolve_role(connection, role)
        _hold(connection, roles, [wanted])

        def apply(op: Operation) -> None:
            changing.touch(op, selected.name, "role_id = :role", role=wanted.id)

        return Change("update", users.c.role_id != wanted.id, apply, takes=True)

    return prepare


def granting(
    references: Sequence[str],
    *,
    reason: str | Unset = UNSET,
    expires_at: datetime | Unset | None = UNSET,
) -> Prepare:
    """Grant claims, for a reason and until an end if these are given; None takes the end away.

    Those that a user holds already stay, with what is given for them now; a grant whose time has
    run out becomes a new one. Raises InvalidInput for a reason that is no line of text.
    """
    given: dict[str, Any] = {}
    if reason is not UNSET:
        given["reason"] = canonical_name(reason, "reason")
    if expires_at is not UNSET:
        given["expires_at"] = expires_at

    def prepare(connection: Connection) -> Change:
        wanted = resolve_claims(connection, references)
        _hold(connection, claims, wanted)
        of_these = in_ids(user_claims.c.claim_id, [claim.id for claim in wanted])
        as_wanted = select(func.count()).where(
            *(user_claims.c.user_id == users.c.id, of_these, counts()),
            *(user_claims.c[name].is_not_distinct_from(value) for name, value in given.items()),
        )
        held = as_wanted.correlate(users).scalar_subquery()

        def apply(op: Operation) -> None:
            _grant(op.connection, wanted, of_these, given)
            changing.touch(op, selected.name)

        return Change("grant", held < len(wanted), apply, takes=False)

    return prepare


def revoking(references: Sequence[str]) -> Prepare:
    """Revoke claims; those that a user does not hold are no error."""

    def prepare(connection: Connection) -> Change:
        unwanted = resolve_claims(connection, references)
        of_these = in_ids(user_claims.c.claim_id, [claim.id for claim in unwanted])
        held = select(user_claims.c.claim_id).where(user_claims.c.user_id == users.c.id, of_these)

        def apply(op: Operation) -> None:
            op.connection.execute(delete(user_claims).where(_of_selected(), of_these))
            changing.touch(op, selected.name)

        return Change("revoke", held.correlate(users).exists(), apply, takes=True)

    return prepare


def _setting_active(*, active: bool) -> Change:
    def apply(op: Operation) -> None:
        changing.touch(op, selected.name, "active = :active", active=active)

    return Change("update", users.c.active.is_(not active), apply, takes=not active)


def _grant(
    connection: Connection,
    wanted: Sequence[Label],
    of_these: ColumnElement[bool],
    given: dict[str, Any],
) -> None:
    connection.execute(delete(user_claims).where(_of_selected(), of_these, ~counts()))
    if given:
        connection.execute(update(user_claims).where(_of_selected(), of_these).values(given))
    held = select(user_claims.c.claim_id).where(
        user_claims.c.user_id == selected.c.user_id, user_claims.c.claim_id == claims.c.id
    )
    missing = (
        select(
            selected.c.user_id,
            claims.c.id,
            *(literal(value, user_claims.c[name].type) for name, value in given.items()),
        )
        .join_from(selected, claims, true())
        .where(
            in_ids(claims.c.id, [claim.id for claim in wanted]),
            ~held.correlate(selected, claims).exists(),
        )
        .order_by(selected.c.user_id, claims.c.id)
    )
    columns = ["user_id", "claim_id", *given]
    connection.execute(insert(user_claims).from_select(columns, missing))


def _of_selected() -> ColumnElement[bool]:
    return user_claims.c.user_id.in_(select(selected.c.user_id))


def _hold(connection: Connection, table: Table, labels: Sequence[Label]) -> None:
    """Keep the roles or claims from being deleted until the transaction ends. Raises NotFound."""
    ids = [label.id for label in labels]
    rows = select(table.c.id).where(in_ids(table.c.id, ids)).order_by(table.c.id)
    present = set(connection.execute(rows.with_for_update(key_share=True, read=True)).scalars())
    for label in labels:
        if label.id not in present:
            raise no_such(table, label.description)
