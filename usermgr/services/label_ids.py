"""Names of roles and claims in a file -> ids; what is missing is created on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, Table, select

from usermgr.db.engine import Operation
from usermgr.db.models import claims, roles
from usermgr.errors import InvalidInput, NotFound
from usermgr.names import parse_id, require_text
from usermgr.services.claims import create_claim
from usermgr.services.references import resolve_claims, resolve_role
from usermgr.services.roles import create_role


class LabelIds:
    """The ids of the roles or the claims, locked against deletion until the transaction ends."""

    def __init__(self, op: Operation, table: Table, *, create: bool) -> None:
        self._op, self._table, self._creates = op, table, create
        self.created = 0
        self._by_id: set[int] = set()
        self._beyond_ascii = False
        self._known: dict[str, int | None] = {}
        stored = select(table.c.id, table.c.description).with_for_update(key_share=True, read=True)
        for row in op.connection.execute(stored):
            self._by_id.add(row.id)
            self._remember(row.description, row.id)

    def find(self, reference: str) -> int | None:
        """The id that a name or id means; None when there is none and none is to be created."""
        if reference not in self._known:
            if len(self._known) > _REMEMBERED:
                self._known = {name: key for name, key in self._known.items() if key is not None}
            self._known[reference] = self._look(reference)
        return self._known[reference]

    def _look(self, reference: str) -> int | None:
        number = parse_id(reference)
        if number is not None:
            return number if number in self._by_id else None
        if reference.isascii():
            lowered = self._known.get(reference.lower())
            if lowered is not None:
                return lowered
        # Python and the database may fold other letters differently, also into ASCII ones.
        if self._beyond_ascii or not reference.isascii():
            try:
                return _RESOLVE[self._table.name](self._op.connection, reference)
            except (NotFound, InvalidInput):
                pass
        return self._create(reference) if self._creates else None

    def _create(self, reference: str) -> int | None:
        try:
            require_text(reference, "name")
            label_id, created = _CREATE[self._table.name](self._op, reference)
        except InvalidInput:
            return None
        self.created += created
        self._by_id.add(label_id)
        self._remember(reference, label_id)
        return label_id

    def _remember(self, name: str, label_id: int) -> None:
        if parse_id(name) is not None:  # An adopted one; digits mean an id, in all commands.
            return
        self._known[name] = label_id
        if name.isascii():
            self._known.setdefault(name.lower(), label_id)
        else:
            self._beyond_ascii = True


_REMEMBERED: Final = 100_000


def _make_role(op: Operation, name: str) -> tuple[int, bool]:
    role, created = create_role(op, name, if_not_exists=True)
    return role.id, created


def _make_claim(op: Operation, name: str) -> tuple[int, bool]:
    claim, created = create_claim(op, name, if_not_exists=True)
    return claim.id, created


_CREATE: Final[dict[str, Callable[[Operation, str], tuple[int, bool]]]] = {
    roles.name: _make_role,
    claims.name: _make_claim,
}
_RESOLVE: Final[dict[str, Callable[[Connection, str], int]]] = {
    roles.name: lambda connection, name: resolve_role(connection, name).id,
    claims.name: lambda connection, name: resolve_claims(connection, [name])[0].id,
}
