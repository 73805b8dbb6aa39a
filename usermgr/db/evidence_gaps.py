"""What no seal tells of: rows that lack their seal, their operation or their erasure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, text

_MISSING_SEAL: Final = """
    SELECT min(seal_id) FROM
    (SELECT seal_id FROM seal_blocks UNION ALL SELECT seal_id FROM sealed_operations) kept
    WHERE seal_id NOT IN (SELECT id FROM seals)
"""
_ORPHAN: Final = """
    SELECT min(c.id) FROM changes c WHERE NOT EXISTS
    (SELECT 1 FROM operations o WHERE o.id = c.operation_id)
"""
_NO_ROW: Final = """
    SELECT min(s.operation_id) FROM sealed_operations s WHERE NOT EXISTS
    (SELECT 1 FROM operations o WHERE o.id = s.operation_id)
"""
_UNSEALED: Final = """
    SELECT count(*) FROM operations o WHERE NOT EXISTS
    (SELECT 1 FROM sealed_operations s WHERE s.operation_id = o.id)
"""
_ERASED: Final = """
    SELECT id, entity, entity_id FROM changes WHERE digest IS NOT NULL
    ORDER BY entity, entity_id, id
"""
_ERASURES: Final = """
    SELECT {after} FROM changes
    WHERE entity = :entity AND entity_id = :entity_id AND action = 'erase' AND digest IS NULL
"""
_ROW: Final = {
    "o": "SELECT id FROM operations WHERE id = :id",
    "c": "SELECT operation_id FROM changes WHERE id = :id",
}


def find_missing_seal(connection: Connection) -> int | None:
    """A seal that is not there, though blocks or operations belong to it."""
    return _number(connection, _MISSING_SEAL)


def find_orphan(connection: Connection) -> int | None:
    """A change whose operation is not there."""
    return _number(connection, _ORPHAN)


def find_sealed_without_row(connection: Connection) -> int | None:
    """An operation that a seal covers, and that is not there."""
    return _number(connection, _NO_ROW)


def count_unsealed(connection: Connection) -> int:
    """How many operations no seal covers."""
    return _number(connection, _UNSEALED) or 0


def find_row(connection: Connection, kind: str, number: int) -> int | None:
    """The operation (o) of that id, or the operation of the change (c) of that id."""
    return _number(connection, _ROW[kind], id=number) if kind in _ROW else None


def find_unrecorded_erasure(connection: Connection) -> int | None:
    """A change without images that no recorded erasure of the same thing names."""
    # The records are read behind the changes: both come to be at one moment.
    rows = connection.execute(text(_ERASED), execution_options={"yield_per": 1_000})
    for (entity, entity_id), erased in groupby(rows, lambda row: (row.entity, row.entity_id)):
        recorded = set(_recorded(connection, entity, entity_id))
        for row in erased:
            if row.id not in recorded:
                return int(row.id)
    return None


def _recorded(connection: Connection, entity: str, entity_id: int) -> Iterator[Any]:
    """The ids of the changes that were erased together, one erasure after the other."""
    on_sqlite = connection.dialect.name == "sqlite"
    after = '"after"' if on_sqlite else 'CAST("after" AS text)'
    found = connection.execute(
        text(_ERASURES.format(after=after)), {"entity": entity, "entity_id": entity_id}
    )
    for (stored,) in found:
        try:
            ids = json.loads(stored)["erased_changes"]
            yield from (number for number in ids if isinstance(number, int))
        except (TypeError, ValueError, KeyError, RecursionError):
            continue


def _number(connection: Connection, statement: str, **values: Any) -> int | None:
    found: int | None = connection.execute(text(statement), values).scalar()
    return found
