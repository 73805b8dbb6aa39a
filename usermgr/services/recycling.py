"""The recycle bin: which deleted users it keeps, bringing one back, emptying it."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from usermgr.db import recycling, undo_finding, undoing
from usermgr.db.engine import Operation
from usermgr.db.models import operations, recycled_users, users
from usermgr.errors import Conflict, NotFound
from usermgr.names import MAX_ID, parse_id, visible
from usermgr.records import BinReport, DeletedUser, User
from usermgr.services.erasing import is_erased
from usermgr.services.lookup import find_user
from usermgr.services.references import user_email
from usermgr.services.undoing import faster_ones_told


def list_deleted(
    connection: Connection, retention: timedelta, *, limit: int
) -> tuple[list[DeletedUser], int]:
    """The users that can be brought back, the last deleted one first; how many there are in all."""
    statement = (
        select(
            recycled_users.c.id,
            recycled_users.c.name,
            recycled_users.c.email,
            operations.c.started_at.label("deleted_at"),
            operations.c.actor,
            recycled_users.c.operation_id,
        )
        .join(operations, operations.c.id == recycled_users.c.operation_id)
        .where(recycled_users.c.restored_in.is_(None))
        .order_by(recycled_users.c.operation_id.desc(), recycled_users.c.id)
    )
    found = [
        DeletedUser(**row._mapping, kept_until=row.deleted_at + retention)
        for row in connection.execute(statement.limit(limit))
    ]
    total = len(found) if len(found) < limit else recycling.count_deleted(connection)
    return found, total


def restore_user(op: Operation, reference: str) -> User:
    """Bring a deleted user back with id, role, claims and password hash.

    By id, or by the e-mail that the user had; of several the last one that was deleted. Raises
    NotFound, and Conflict when the e-mail is taken, the role or a claim is gone, or the user was
    erased.
    """
    number = parse_id(reference.strip())
    if number is None:
        wanted = recycled_users.c.email == user_email(reference)
    else:
        wanted = recycled_users.c.id == min(number, MAX_ID)
    row = op.connection.execute(
        select(recycled_users.c.id, recycled_users.c.email, recycled_users.c.operation_id)
        .where(wanted, recycled_users.c.restored_in.is_(None))
        .order_by(recycled_users.c.operation_id.desc())
        .with_for_update()
    ).first()
    if row is None:
        raise _not_kept(op.connection, reference)
    if is_erased(op.connection, row.id):
        raise _erased(row.id)
    undo_finding.find_deleted(op, row.operation_id, row.id)
    if undoing.leave(op, row.operation_id):
        reason = next(undoing.find_left(op.connection)).reason
        raise Conflict(
            f'the user {row.id} "{row.email}" cannot be brought back: {reason}',
            hint="give whoever has the e-mail another one, or undo the operation that deleted the"
            " role or claim (a new one of the same name is another one), and repeat this",
        )
    with faster_ones_told():
        undoing.bring_back(op)
    op.count("user.restore")
    return find_user(op.connection, str(row.id))


def count_deleted(connection: Connection, before: datetime) -> int:
    """How many users ``sweep_bin`` would remove for good."""
    return recycling.count_deleted(connection, before)


def sweep_bin(op: Operation, before: datetime) -> BinReport:
    """Remove for good what was deleted or replaced before that moment."""
    removed = recycling.sweep(op.connection, before)
    return BinReport(removed["recycled_users"], removed["recycled_passwords"])


def _erased(user_id: int) -> Conflict:
    return Conflict(f"the user {user_id} was erased", hint="nothing brings an erased user back")


def _not_kept(connection: Connection, reference: str) -> NotFound | Conflict:
    number = parse_id(reference.strip())
    if number is None:
        present = users.c.email == user_email(reference)
    else:
        number = min(number, MAX_ID)
        if is_erased(connection, number):
            return _erased(number)
        present = users.c.id == number
    if connection.execute(select(users.c.id).where(present)).first():
        return Conflict(f'the user "{visible(reference)}" is not deleted')
    return NotFound(
        f'the recycle bin holds no user "{visible(reference)}"',
        hint="usermgr bin list shows whom it holds",
    )
