"""A person's right to be forgotten (GDPR article 17, LGPD article 18).

The row becomes a pseudonym, the history keeps that something happened and loses what and to whom,
and the recycle bin loses the person. What was sealed stays provable: seals cover a digest of name
and images, which takes their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, null, select, update

from usermgr.db.engine import Operation
from usermgr.db.erasure import overwrite_what_is_deleted
from usermgr.db.errors import EMAIL_UNIQUE, violation
from usermgr.db.evidence import changes_by_id
from usermgr.db.models import (
    changes,
    recycled_grants,
    recycled_passwords,
    recycled_users,
    user_claims,
    users,
)
from usermgr.errors import Conflict
from usermgr.passwords import UNUSABLE
from usermgr.records import Erasure
from usermgr.services.guards import holders_kept
from usermgr.services.leaves import images_digest
from usermgr.services.references import no_such_user, past_and_present_ids
from usermgr.services.repeating import forget_answers

ACTION: Final = "erase"
NAME: Final = "erased"
BATCH: Final = 1_000


class Person(NamedTuple):
    """Whom an erasure means; name and e-mail are None where the row is deleted."""

    id: int
    name: str | None
    email: str | None


def find_person(connection: Connection, reference: str) -> Person:
    """The one user, present or deleted, that the id, the e-mail or a former e-mail means.

    Raises NotFound, and Conflict for an e-mail that several users had one after the other.
    """
    ids = past_and_present_ids(connection, reference)
    if len(ids) > 1:
        raise Conflict(
            f'"{reference.strip()}" was the e-mail of the users ' + ", ".join(map(str, ids)),
            hint="look at them with usermgr user history, and name one by id",
        )
    (user_id,) = ids
    row = connection.execute(
        select(users.c.name, users.c.email).where(users.c.id == user_id)
    ).first()
    if row is not None:
        return Person(user_id, row.name, row.email)
    for known in (
        select(changes.c.id).where(changes.c.entity == "user", changes.c.entity_id == user_id),
        select(recycled_users.c.id).where(recycled_users.c.id == user_id),
    ):
        if connection.execute(known.limit(1)).first():
            return Person(user_id, None, None)
    raise no_such_user(reference)


def erase_user(op: Operation, reference: str) -> Erasure:
    """Erase a person from row, history and recycle bin; this cannot be undone.

    The id stays, so that what refers to the user still does, and the change that records the
    erasure names the changes that lost their images. What is erased already changes nothing.
    Raises NotFound, Conflict for an e-mail that several users had, and Forbidden when a protected
    role or claim would lose its last active user.
    """
    overwrite_what_is_deleted(op.connection)
    person = find_person(op.connection, reference)
    row = _erase_row(op, person.id)
    recycled = _empty_bin(op.connection, person.id)
    if row is None:  # Somebody may have brought the user back in between.
        row = _erase_row(op, person.id)
    grants = row.grants if row else 0
    erased = _erase_images(op.connection, person.id)
    forget_answers(op.connection, person.id)
    if (row and row.changed) or erased or recycled:
        op.record("user", person.id, "", ACTION, after={"erased_changes": erased})
    return Erasure(
        id=person.id,
        user="pseudonymous" if row else "deleted",
        changes=len(erased),
        grants=grants,
        recycled=recycled,
        operation_id=op.id if op.counts else None,
    )


class _ErasedRow(NamedTuple):
    """Whether a row had to be changed, and how many grants were removed."""

    changed: bool
    grants: int


def _erase_row(op: Operation, user_id: int) -> _ErasedRow | None:
    """Make a pseudonym of the row; None where there is none."""
    connection = op.connection
    row = connection.execute(
        select(users.c.name, users.c.email, users.c.password, users.c.active)
        .where(users.c.id == user_id)
        .with_for_update()
    ).first()
    if row is None:
        return None
    with holders_kept(op, users.c.id == user_id):
        return _erase_locked(op, user_id, row)


def _erase_locked(op: Operation, user_id: int, row: Sequence[Any]) -> _ErasedRow:
    grants = op.connection.execute(
        delete(user_claims).where(user_claims.c.user_id == user_id)
    ).rowcount
    email = f"erased-{user_id}@erased.invalid"
    if tuple(row) == (NAME, email, UNUSABLE, False) and not grants:
        return _ErasedRow(False, 0)
    values: dict[str, Any] = {
        "name": NAME,
        "email": email,
        "password": UNUSABLE,
        "active": False,
        "version": users.c.version + 1,
        "updated_at": op.started_at,
    }
    with violation(EMAIL_UNIQUE, lambda: _taken(email)):
        op.connection.execute(update(users).where(users.c.id == user_id).values(values))
    return _ErasedRow(True, grants)


def is_erased(connection: Connection, user_id: int) -> bool:
    """Whether the user was erased."""
    record = select(changes.c.id).where(
        changes.c.entity == "user", changes.c.entity_id == user_id, changes.c.action == ACTION
    )
    return connection.execute(record.limit(1)).first() is not None


def _empty_bin(connection: Connection, user_id: int) -> int:
    """Remove the user from the recycle bin; returns how many rows that were."""
    put_in = select(recycled_users.c.operation_id).where(recycled_users.c.id == user_id)
    return sum(
        connection.execute(delete(table).where(condition)).rowcount
        for table, condition in (
            (
                recycled_grants,
                (recycled_grants.c.user_id == user_id) & recycled_grants.c.operation_id.in_(put_in),
            ),
            (recycled_passwords, recycled_passwords.c.user_id == user_id),
            (recycled_users, recycled_users.c.id == user_id),
        )
    )


def _erase_images(connection: Connection, user_id: int) -> list[int]:
    """Let the digests take the place of the images; returns the ids of the changes."""
    ids = list(
        connection.execute(
            select(changes.c.id)
            .where(
                changes.c.entity == "user",
                changes.c.entity_id == user_id,
                changes.c.digest.is_(None),
                changes.c.action != ACTION,
            )
            .order_by(changes.c.id)
        ).scalars()
    )
    give_way = (
        update(changes)
        .where(changes.c.id == bindparam("change"))
        .values(name="", before=null(), after=null(), salt=null(), digest=bindparam("own"))
    )
    for start in range(0, len(ids), BATCH):
        found = changes_by_id(connection, ids[start : start + BATCH])
        digests = [{"change": key, "own": images_digest(row)} for key, row in found.items()]
        connection.execute(give_way, digests)
    return ids


def _taken(email: str) -> Conflict:
    return Conflict(
        f'the e-mail "{email}" is taken, which the erased user would get',
        hint=f"give that user another one with: usermgr user update {email} --email EMAIL",
    )
