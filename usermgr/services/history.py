"""What changed, when, by whom and from which command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, func, select, union

from usermgr.db.models import changes, operations, users
from usermgr.errors import NotFound
from usermgr.formats.writers import cell
from usermgr.names import MAX_ID, parse_id, visible
from usermgr.records import Change, OperationDetail, OperationRecord
from usermgr.services.references import no_such_user, user_email


def list_operations(
    connection: Connection, *, limit: int, before: int | None = None
) -> tuple[list[OperationRecord], int]:
    """The newest operations first, older than the id ``before``, and how many there are in all."""
    statement = select(*operations.c).order_by(operations.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(operations.c.id < min(before, MAX_ID))
    found = [OperationRecord(**row._mapping) for row in connection.execute(statement)]
    if before is None and len(found) < limit:
        return found, len(found)
    return found, connection.execute(select(func.count()).select_from(operations)).scalar_one()


def find_operation(connection: Connection, reference: str) -> OperationDetail:
    """One operation with its changes in the order they were made. Raises NotFound."""
    number = parse_id(reference.strip())
    row = None
    if number is not None and number <= MAX_ID:
        row = connection.execute(select(*operations.c).where(operations.c.id == number)).first()
    if row is None:
        raise NotFound(
            f'no operation "{visible(reference)}"', hint="usermgr operation list shows the newest"
        )
    made = connection.execute(
        _changes().where(changes.c.operation_id == number).order_by(changes.c.id)
    )
    return OperationDetail(**row._mapping, changes=tuple(_change(change) for change in made))


def user_history(connection: Connection, reference: str) -> list[Change]:
    """Every change of a user, oldest first; deleted users are found by id or former e-mail.

    A user that was created with many others at once has no change of its own for that; the
    creation is then told from the operation, without images. An e-mail that several users had one
    after the other tells of all of them. Raises NotFound.
    """
    ids = _user_ids(connection, reference)
    made = connection.execute(
        _changes()
        .where(changes.c.entity == "user", changes.c.entity_id.in_(ids))
        .order_by(changes.c.id)
    )
    history = [_change(row) for row in made]
    present = connection.execute(
        select(users.c.id, users.c.email, users.c.created_in).where(users.c.id.in_(ids))
    ).all()
    if not history and not present:
        raise no_such_user(reference)
    for creation in _creations(connection, history, present):
        history.insert(_place(history, creation), creation)
    return history


def _user_ids(connection: Connection, reference: str) -> list[int]:
    number = parse_id(reference.strip())
    if number is not None:
        if number > MAX_ID:
            raise no_such_user(reference)
        return [number]
    email = user_email(reference)
    current = select(users.c.id).where(users.c.email == email)
    former = select(changes.c.entity_id).where(changes.c.entity == "user", changes.c.name == email)
    found = list(connection.execute(union(current, former)).scalars())
    if not found:
        raise no_such_user(reference)
    return found


def _changes() -> Select[Any]:
    return select(
        changes.c.id,
        changes.c.operation_id,
        operations.c.started_at.label("at"),
        operations.c.actor,
        operations.c.command,
        changes.c.entity,
        changes.c.entity_id,
        changes.c.name,
        changes.c.action,
        changes.c.before,
        changes.c.after,
    ).join(operations, operations.c.id == changes.c.operation_id)


def _change(row: Row[Any]) -> Change:
    return Change(**row._mapping, changed=_difference(row.before, row.after))


def _difference(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    """What differs between the images, in words; the bookkeeping columns are left out."""
    if before is None or after is None:
        return ""
    told = []
    for key, new in after.items():
        old = before.get(key)
        if key == "grants" and old is not None:
            told += _grant_differences(old, new)
        elif old != new and key not in _NOT_TOLD:
            told.append(f"{key}: {cell(old)} -> {cell(new)}")
    return ", ".join(told)


_NOT_TOLD: Final = ("version", "updated_at", "role_id", "claims", "grants")


def _grant_differences(before: list[Any], after: list[Any]) -> Iterator[str]:
    """Claims granted (+) and revoked (-), and of the others what is said of them otherwise now."""
    old, new = ({grant["claim"]: grant for grant in grants} for grants in (before, after))
    yield from (f"+{claim}" for claim in new if claim not in old)
    yield from (f"-{claim}" for claim in old if claim not in new)
    for claim in new.keys() & old.keys():
        for key in ("expires_at", "reason"):
            if old[claim][key] != new[claim][key]:
                yield f"{claim} {key}: {cell(old[claim][key])} -> {cell(new[claim][key])}"


def _creations(
    connection: Connection, history: list[Change], present: Sequence[Row[Any, Any, Any]]
) -> Iterator[Change]:
    """The creations that have no change of their own, told from the operations, oldest first."""
    emails = {row.id: row.email for row in present}
    created_in = {row.id: row.created_in for row in present}
    for change in reversed(history):
        emails[change.entity_id] = change.name
        if change.action == "delete" and change.before:
            created_in[change.entity_id] = change.before.get("created_in")
    for change in history:
        if change.action == "create":
            created_in.pop(change.entity_id, None)
    made = select(operations).where(operations.c.id.in_(set(created_in.values()) - {None}))
    found = {row.id: row for row in connection.execute(made)}
    for user_id, operation_id in sorted(created_in.items()):
        if operation_id in found:
            yield _creation(found[operation_id], user_id, emails[user_id])


def _creation(operation: Row[Any], user_id: int, email: str) -> Change:
    return Change(
        id=0,
        operation_id=operation.id,
        at=operation.started_at,
        actor=operation.actor,
        command=operation.command,
        entity="user",
        entity_id=user_id,
        name=email,
        action="create",
        changed="",
        before=None,
        after=None,
    )


def _place(history: list[Change], creation: Change) -> int:
    """Where the creation belongs: before what happened to the user, and later operations."""
    for position, change in enumerate(history):
        if change.entity_id == creation.entity_id or change.operation_id > creation.operation_id:
            return position
    return len(history)
