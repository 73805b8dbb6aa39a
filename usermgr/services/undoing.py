"""Undo: what an operation did is done backwards, as an operation of its own.

Users are undone set by set (``db.undo_finding``, ``db.undoing``), however many they are; roles and
claims are few.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select
from sqlalchemy.exc import IntegrityError

from usermgr.db import changing, undo_finding, undo_load, undoing
from usermgr.db.engine import Operation
from usermgr.db.errors import EMAIL_UNIQUE, is_reference, referred_to, violates
from usermgr.db.images import HASH_ONLY
from usermgr.db.models import changes, operations
from usermgr.errors import Conflict, Forbidden, InvalidInput, NotFound
from usermgr.names import MAX_ID, listed, parse_id, visible
from usermgr.records import LeftAlone, UndoReport
from usermgr.services import guards
from usermgr.services.claims import CLAIMS
from usermgr.services.labels import Labels, image
from usermgr.services.roles import ROLES

_HASHES: Final = {f"user.{action}" for action in HASH_ONLY}


FIRST: Final = 10
"""How many of those that are left a message names."""


@dataclass(slots=True)
class Undo:
    """An undo that was done inside an operation, as long as its transaction is open."""

    op: Operation
    undone: int
    dry_run: bool = False
    labels: int = 0
    users: dict[str, int] = field(default_factory=dict)
    left_users: int = 0
    left_others: list[LeftAlone] = field(default_factory=list)

    @property
    def left(self) -> Iterator[LeftAlone]:
        """What was left as it is, with the reasons; users first, by id."""
        for user in undoing.find_left(self.op.connection) if self.left_users else ():
            yield LeftAlone("user", *user)
        yield from self.left_others

    @property
    def number_left(self) -> int:
        """How many that are."""
        return self.left_users + len(self.left_others)

    @property
    def first_left(self) -> str:
        """The first ten of them for a message, each on a line of its own, and how many more."""
        first = itertools.islice(self.left, FIRST)
        lines = (f'{each.entity} {each.id} "{each.name}": {each.reason}' for each in first)
        return listed(lines, self.number_left)

    @property
    def report(self) -> UndoReport:
        """What was done."""
        return UndoReport(
            undoes=self.undone,
            users_deleted=self.users["deleted"],
            users_restored=self.users["restored"],
            users_changed=self.users["changed"],
            roles_and_claims=self.labels,
            left=self.number_left,
            dry_run=self.dry_run,
            operation_id=self.op.id if self.op.counts and not self.dry_run else None,
        )


def undo_operation(
    op: Operation, reference: str, *, strict: bool = False, dry_run: bool = False
) -> Undo:
    """Undo what the operation did: what it created goes, what it changed gets its image from before
    back, what it deleted comes back with id, role, claims and password hash.

    What changed since, or needs something that is gone, is left and told; with ``strict`` that is a
    Conflict. Raises NotFound, Conflict and InvalidInput for an operation that cannot be undone, and
    Forbidden where a guard does.
    """
    row = _undoable(op.connection, reference, lock=True)
    undo = Undo(op, row.id, dry_run)
    made = _label_changes(op.connection, row.id)
    for change in made:
        if change.after is None:
            _undo_label(undo, change, _restore)
    with guards.holders_kept(op):
        _undo_users(undo, row)
    for change in made:
        if change.after is not None:
            _undo_label(undo, change, _delete if change.before is None else _change_back)
    op.undoes = row.id
    if undo.number_left and strict:
        raise Conflict(
            f"{undo.number_left} of the changes of operation {row.id} cannot be undone: "
            f"nothing was changed{undo.first_left}",
            hint="without --strict they are left, and the rest is undone",
            details={"left": undo.number_left},
        )
    if undo.number_left:
        op.outcome = "partial"
    return undo


def _undoable(connection: Connection, reference: str, *, lock: bool = False) -> Row[Any]:
    number = parse_id(reference.strip())
    row = None
    if number is not None and number <= MAX_ID:
        if lock:
            undoing.lock_operation(connection, number)
        row = connection.execute(select(operations).where(operations.c.id == number)).first()
    if row is None:
        raise NotFound(
            f'no operation "{visible(reference)}"', hint="usermgr operation list shows the newest"
        )
    if any(what.endswith(".adopt") for what in row.counts):
        raise InvalidInput(
            f"operation {row.id} adopted a database: that cannot be undone",
            hint="usermgr schema downgrade takes the tables back",
        )
    if any(what.endswith(".erase") for what in row.counts):
        raise InvalidInput(
            f"operation {row.id} erased a person's data: that cannot be undone",
            hint="nothing brings it back",
        )
    if any(what.startswith("token.") for what in row.counts):
        raise InvalidInput(
            f"operation {row.id} concerns a token: that cannot be undone",
            hint="usermgr token revoke ends a token, usermgr token create makes another",
        )
    if row.counts and all(what in _HASHES for what in row.counts):
        raise InvalidInput(
            f"operation {row.id} replaced hashes of passwords by stronger ones: that cannot be"
            " undone",
            hint="only a new password takes it back: usermgr user set-password USER",
        )
    undone_by = _undone_by(connection, row.id)
    if undone_by is not None:
        raise Conflict(
            f"operation {row.id} was undone by operation {undone_by} already",
            hint=f"usermgr undo {undone_by} brings back what it did; then it can be undone anew",
        )
    return row


def _undone_by(connection: Connection, operation_id: int) -> int | None:
    """The operation that undid this one, unless that is undone itself.

    Every undo before the newest one is undone: otherwise there would be no newer one.
    """
    chain = [operation_id]
    while newest := connection.execute(
        select(func.max(operations.c.id)).where(operations.c.undoes == chain[-1])
    ).scalar():
        chain.append(newest)
    return None if len(chain) % 2 else chain[1]


def _done_again(connection: Connection, operation_id: int) -> list[int]:
    """The operation, and those that undid an undo of it, or of one of these."""
    same = [operation_id]
    for each in same:  # It grows meanwhile.
        undo, again = operations.alias(), operations.alias()
        undone = select(again.c.id).join(undo, again.c.undoes == undo.c.id)
        same += connection.execute(undone.where(undo.c.undoes == each)).scalars()
    return same


def _undo_users(undo: Undo, row: Row[Any]) -> None:
    op = undo.op
    undo.users = {"deleted": 0, "restored": 0, "changed": 0}
    known = sum(n for what, n in row.counts.items() if what.startswith("user."))
    with changing.room_for(op, known), faster_ones_told():
        found = undo_load.take_back(op, undo.undone) if known >= undo_load.WORTH else None
        if found is not None:
            undo.users["deleted"] = found
        else:
            found = undo_finding.find(op, undo.undone, _done_again(op.connection, undo.undone))
            if found:
                undo.left_users = undoing.leave(op, undo.undone)
                undo.users = undoing.apply(op, undo.undone)
        _tell_unknown(undo, row, known - found)
    for what, key in (("delete", "deleted"), ("restore", "restored"), ("undo", "changed")):
        op.count(f"user.{what}", undo.users[key])


@contextlib.contextmanager
def faster_ones_told() -> Iterator[None]:
    """Let the block raise Conflict where another command was faster."""
    try:
        with referred_to("one of the users that would be deleted"):
            yield
    except IntegrityError as error:
        if violates(error, EMAIL_UNIQUE):
            raise Conflict(
                "one of the e-mails was taken meanwhile", hint="try again: it is left then"
            ) from error
        if is_reference(error):
            raise Conflict(
                "a role or claim was deleted meanwhile", hint="try again: it is left then"
            ) from error
        raise


def _tell_unknown(undo: Undo, row: Row[Any], unknown: int) -> None:
    """Of many that were deleted or restored at once only the recycle bin tells, for a time."""
    if unknown > 0:
        users = "1 user" if unknown == 1 else f"{unknown} users"
        told = f"the recycle bin does not keep {users} of it any more"
        undo.left_others.append(LeftAlone("operation", row.id, row.command, told))


def _label_changes(connection: Connection, undone: int) -> list[Row[Any]]:
    """The changes of roles and claims, the last one first."""
    statement = select(
        changes.c.entity, changes.c.entity_id, changes.c.name, changes.c.before, changes.c.after
    ).where(changes.c.operation_id == undone, changes.c.entity.in_(["role", "claim"]))
    return list(connection.execute(statement.order_by(changes.c.id.desc())))


def _undo_label(undo: Undo, change: Row[Any], act: Callable[..., None]) -> None:
    labels: Labels[Any] = ROLES if change.entity == "role" else CLAIMS
    try:
        with undo.op.savepoint():
            act(undo.op, labels, change)
        undo.labels += 1
    except (Conflict, NotFound, Forbidden) as error:
        undo.left_others.append(
            LeftAlone(change.entity, change.entity_id, change.name, error.message)
        )


def _restore(op: Operation, labels: Labels[Any], change: Row[Any]) -> None:
    labels.restore(op, change.before)


def _delete(op: Operation, labels: Labels[Any], change: Row[Any]) -> None:
    _require_same(op, labels, change)
    labels.delete(op, str(change.entity_id))


def _change_back(op: Operation, labels: Labels[Any], change: Row[Any]) -> None:
    _require_same(op, labels, change)
    values = {key: value for key, value in change.before.items() if key != "id"}
    labels.update(op, str(change.entity_id), values)


def _require_same(op: Operation, labels: Labels[Any], change: Row[Any]) -> None:
    try:
        present = image(labels.find(op.connection, str(change.entity_id)))
    except NotFound as error:
        raise NotFound("was deleted since") from error
    # A former revision knew less of them.
    if any(present.get(key) != value for key, value in change.after.items()):
        raise Conflict("was changed since")
