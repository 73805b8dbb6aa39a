"""What changed, when, by whom and from which command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, func, select

from usermgr.db.models import (
    changes,
    claims,
    operations,
    recycled_grants,
    recycled_users,
    roles,
    users,
)
from usermgr.errors import NotFound
from usermgr.formats.writers import cell, plain
from usermgr.names import MAX_ID, parse_id, visible
from usermgr.passwords import UNUSABLE
from usermgr.records import Change, OperationDetail, OperationRecord, User
from usermgr.services.lookup import user_image
from usermgr.services.references import no_such_user, past_and_present_ids

ERASED: Final = "erased"
"""Stands for what changed where it was erased at the person's request."""


def list_operations(
    connection: Connection, *, limit: int, before: int | None = None, count: bool = True
) -> tuple[list[OperationRecord], int]:
    """The newest operations first, older than the id ``before``, and how many there are in all, or
    0 where nobody wants to know."""
    statement = select(*operations.c).order_by(operations.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(operations.c.id < min(before, MAX_ID))
    found = [OperationRecord(**row._mapping) for row in connection.execute(statement)]
    if not count or (before is None and len(found) < limit):
        return found, len(found) if count else 0
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
    ids = past_and_present_ids(connection, reference)
    made = connection.execute(
        _changes()
        .where(changes.c.entity == "user", changes.c.entity_id.in_(ids))
        .order_by(changes.c.id)
    )
    history = [_change(row) for row in made]
    present = connection.execute(
        select(users.c.id, users.c.email, users.c.created_in).where(users.c.id.in_(ids))
    ).all()
    kept = connection.execute(select(recycled_users).where(recycled_users.c.id.in_(ids))).all()
    if not history and not present and not kept:
        raise no_such_user(reference)
    created = list(_creations(connection, history, [*kept, *present]))
    for told in (*created, *_recycled(connection, history, kept)):
        history.insert(_place(history, told), told)
    return history


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
        changes.c.digest,
    ).join(operations, operations.c.id == changes.c.operation_id)


def _change(row: Row[Any]) -> Change:
    told = dict(row._mapping)
    erased = told.pop("digest") is not None
    return Change(**told, changed=ERASED if erased else _difference(row.before, row.after))


def _difference(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    """What differs between the images, in words; the bookkeeping columns are left out."""
    if before is None or after is None:
        return ""
    told: list[str] = []
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
    connection: Connection, history: list[Change], present: Sequence[Any]
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
    return _told(operation, user_id, email, "create")


def _recycled(
    connection: Connection, history: list[Change], kept: Sequence[Row[Any]]
) -> Iterator[Change]:
    """The deletions and restorations of many at once, which only the recycle bin tells."""
    told = {(change.operation_id, change.entity_id) for change in history}
    wanted = {row.operation_id for row in kept} | {row.restored_in for row in kept} - {None}
    made = select(operations).where(operations.c.id.in_(wanted))
    found = {row.id: row for row in connection.execute(made)}
    for row in sorted(kept, key=lambda row: int(row.operation_id)):
        image = None
        for operation_id, action in ((row.operation_id, "delete"), (row.restored_in, "restore")):
            if operation_id in found and (operation_id, row.id) not in told:
                image = image or _recycled_image(connection, row)
                images = {"before" if action == "delete" else "after": image}
                yield _told(found[operation_id], row.id, row.email, action, **images)


def _recycled_image(connection: Connection, row: Row[Any]) -> dict[str, Any]:
    """The image of a user in the recycle bin, by the names that roles and claims have now, or that
    the role had last."""
    held = connection.execute(
        select(
            recycled_grants.c.claim_id,
            claims.c.description.label("claim"),
            recycled_grants.c.reason,
            recycled_grants.c.expires_at,
        )
        .join(claims, claims.c.id == recycled_grants.c.claim_id)
        .where(
            recycled_grants.c.user_id == row.id,
            recycled_grants.c.operation_id == row.operation_id,
        )
    )
    grants = [plain(dict(grant._mapping)) for grant in held]
    last_name = (
        select(changes.c.name)
        .where(changes.c.entity == "role", changes.c.entity_id == row.role_id)
        .order_by(changes.c.id.desc())
        .limit(1)
    )
    present = select(roles.c.description).where(roles.c.id == row.role_id)
    name = func.coalesce(present.scalar_subquery(), last_name.scalar_subquery())
    role = connection.execute(select(name)).scalar()
    user = User(
        id=row.id,
        name=row.name,
        email=row.email,
        role_id=row.role_id,
        role=role or "",
        claims=tuple(sorted(grant["claim"] for grant in grants)),
        active=row.active,
        has_password=row.password[:1] != UNUSABLE,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
    return {**user_image(user, grants), "created_in": row.created_in}


def _told(
    operation: Row[Any],
    user_id: int,
    email: str,
    action: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> Change:
    """A change of one of many users, which has no row of its own."""
    return Change(
        id=0,
        operation_id=operation.id,
        at=operation.started_at,
        actor=operation.actor,
        command=operation.command,
        entity="user",
        entity_id=user_id,
        name=email,
        action=action,
        changed="",
        before=before,
        after=after,
    )


def _place(history: list[Change], told: Change) -> int:
    """Where a change without a row belongs: before later operations, and a creation before all that
    happened to the user."""
    for position, change in enumerate(history):
        if change.operation_id > told.operation_id or (
            told.action == "create" and change.entity_id == told.entity_id
        ):
            return position
    return len(history)
