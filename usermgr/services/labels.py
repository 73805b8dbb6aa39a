"""What roles and claims have in common: named things that users hold.

``Labels`` is used through the functions of ``roles`` and ``claims``; only undo has both in hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy import update as update_rows

from usermgr.db.engine import Operation
from usermgr.db.errors import Constraint, referred_to, violation
from usermgr.db.savepoints import savepoint
from usermgr.db.sql import fold, insert_with_id
from usermgr.errors import Conflict, InvalidInput
from usermgr.names import canonical_label
from usermgr.records import UNSET, Claim, Role
from usermgr.services.guards import is_protected
from usermgr.services.references import label_condition, no_such, resolve_labels

L = TypeVar("L", Role, Claim)


@dataclass(frozen=True)
class Labels(Generic[L]):
    """Operations on one of the two tables.

    ``holders`` matches the rows that use a label, ``ended`` those that did until their time ran
    out; ``unique`` is the constraint that holds names unique; ``build`` makes the record from a
    row.
    """

    noun: str
    table: Table
    holders: ColumnElement[bool]
    unique: Constraint
    build: Callable[[Row[Any]], L]
    ended: ColumnElement[bool] | None = None

    def create(self, op: Operation, name: str, *, if_not_exists: bool = False) -> tuple[L, bool]:
        """The label and whether it was made now. Raises Conflict when the name is taken."""
        name = canonical_label(name, f"{self.noun} name")
        try:
            with op.savepoint():
                label_id = self._insert(op.connection, name)
        except Conflict:
            if not if_not_exists:
                raise
            return self.find(op.connection, name), False
        label = self.find(op.connection, str(label_id))
        op.record(self.noun, label_id, name, "create", after=image(label))
        return label, True

    def find(self, connection: Connection, reference: str) -> L:
        """The label that the name or id means. Raises NotFound."""
        row = connection.execute(
            self._select().where(label_condition(self.table, reference))
        ).first()
        if row is None:
            raise no_such(self.table, reference)
        return self.build(row)

    def list(self, connection: Connection) -> list[L]:
        """Every label, by id."""
        rows = connection.execute(self._select().order_by(self.table.c.id))
        return [self.build(row) for row in rows]

    def update(self, op: Operation, reference: str, values: dict[str, Any]) -> L:
        """Set columns of a label.

        Raises NotFound, Conflict when a new name is taken, and Forbidden when a protected one is to
        be disabled.
        """
        if "description" in values:
            name = canonical_label(values["description"], f"{self.noun} name")
            values = {**values, "description": name}
        before = self.lock(op.connection, reference)
        if all(getattr(before, key) == value for key, value in values.items()):
            return before
        if before.protected and values.get("active") is False:
            raise is_protected(self.noun, before.description, "disabled")
        with violation(self.unique, lambda: self._taken(values["description"])):
            op.connection.execute(
                update_rows(self.table).where(self.table.c.id == before.id).values(values)
            )
        self._require_unique(op.connection, values.get("description", before.description))
        after = self.find(op.connection, str(before.id))
        op.record(
            self.noun,
            before.id,
            before.description,
            "update",
            before=image(before),
            after=image(after),
        )
        return after

    def protect(self, op: Operation, references: Sequence[str], *, protected: bool) -> Sequence[L]:
        """Protect labels, or take the protection away: all, each once, or none. Raises NotFound."""
        named = resolve_labels(op.connection, self.table, references)
        return [self.update(op, str(label.id), {"protected": protected}) for label in named]

    def delete(self, op: Operation, reference: str) -> L:
        """Delete a label. Raises NotFound, Forbidden when it is protected, and Conflict with the
        number of holders if any, or with the table of the application that refers to it."""
        label = self.lock(op.connection, reference)
        if label.protected:
            raise is_protected(self.noun, label.description, "deleted")
        try:
            with (
                savepoint(op.connection),
                referred_to(f'the {self.noun} "{label.description}"'),
            ):
                op.connection.execute(delete(self.table).where(self.table.c.id == label.id))
        except Conflict as error:
            label = self.find(op.connection, str(label.id))
            if label.users:
                raise self._in_use(label) from error
            if self._number_ended(op.connection, label):
                raise self._in_ended(label) from error
            raise
        op.record(self.noun, label.id, label.description, "delete", before=image(label))
        return label

    def restore(self, op: Operation, before: dict[str, Any]) -> L:
        """Bring a deleted label back as its image says. Raises Conflict when the name is taken."""
        columns = {name: value for name, value in before.items() if name in self.table.c}
        with violation(self.unique, lambda: self._taken(before["description"])):
            op.connection.execute(insert_with_id(op.connection, self.table, columns))
        self._require_unique(op.connection, before["description"])
        label = self.find(op.connection, str(before["id"]))
        op.record(self.noun, label.id, label.description, "restore", after=image(label))
        return label

    def _select(self) -> Select[Any]:
        held = select(func.count()).where(self.holders).scalar_subquery()
        return select(*self.table.c, held.label("users"))

    def _insert(self, connection: Connection, name: str) -> int:
        with violation(self.unique, lambda: self._taken(name)):
            label_id: int = connection.execute(
                insert(self.table).values(description=name).returning(self.table.c.id)
            ).scalar_one()
        self._require_unique(connection, name)
        return label_id

    def _require_unique(self, connection: Connection, name: str) -> None:
        """SQLite's index folds ASCII letters only; its write lock makes this check sufficient."""
        same = select(func.count()).where(fold(self.table.c.description) == fold(name))
        if connection.execute(same).scalar_one() > 1:
            raise self._taken(name)

    def lock(self, connection: Connection, reference: str) -> L:
        """The label, which nobody else changes until the transaction ends. Raises NotFound."""
        # By id from here on: another label may have got the name meanwhile.
        condition = label_condition(self.table, reference)
        locked = select(self.table.c.id).where(condition).with_for_update()
        label_id = connection.execute(locked).scalar()
        if label_id is None:
            raise no_such(self.table, reference)
        return self.find(connection, str(label_id))

    def _taken(self, name: str) -> Conflict:
        return Conflict(
            f'the {self.noun} "{name}" exists already',
            hint=f'look at it with: usermgr {self.noun} show "{name}"; '
            "to create only what is missing, pass --if-not-exists",
        )

    def _number_ended(self, connection: Connection, label: L) -> int:
        if self.ended is None:
            return 0
        ended = select(func.count()).where(self.ended, self.table.c.id == label.id)
        number: int = connection.execute(ended).scalar_one()
        return number

    def _in_ended(self, label: L) -> Conflict:
        return Conflict(
            f'the {self.noun} "{label.description}" is in grants whose time has run out',
            hint="remove them with: usermgr claim sweep",
        )

    def _in_use(self, label: L) -> Conflict:
        users = "user" if label.users == 1 else "users"
        return Conflict(
            f'the {self.noun} "{label.description}" is in use by {label.users} {users}',
            hint=f'find them with: usermgr user list --{self.noun} "{label.description}"',
            details={"users": label.users},
        )


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not UNSET. Raises InvalidInput for none."""
    found = {name: value for name, value in values.items() if value is not UNSET}
    if not found:
        raise InvalidInput("nothing to change", hint="give at least one of the options")
    return found


def image(label: Role | Claim) -> dict[str, Any]:
    """The label as the history keeps it."""
    return {key: value for key, value in asdict(label).items() if key != "users"}
