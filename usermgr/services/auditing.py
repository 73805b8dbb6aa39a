"""The history as JSON lines, one object for each change, as systems that gather logs take them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import IO, Any, Final

from sqlalchemy import Connection

from usermgr.db.evidence import Key, Raw, has_seal, history_keys, rows_of
from usermgr.errors import NotFound
from usermgr.names import MAX_ID

OPERATION_FIELDS: Final = (
    "operation_id",
    "started_at",
    "finished_at",
    "actor",
    "source",
    "command",
    "outcome",
    "counts",
    "undoes",
    "seal",
)
CHANGE_FIELDS: Final = (
    "change_id",
    "entity",
    "entity_id",
    "name",
    "action",
    "before",
    "after",
    "erased",
)
FIELDS: Final = (*OPERATION_FIELDS, *CHANGE_FIELDS)
"""What an object holds. Those of the change are null where an operation has none of its own."""

_JSON: Final = ("counts", "before", "after")
_TICK: Final = 1_000


def export_history(
    connection: Connection,
    out: IO[str],
    *,
    after_seal: int | None = None,
    since: datetime | None = None,
    fields: tuple[str, ...] = FIELDS,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write one line for each change, and for each operation without changes; returns how many.

    In the order of the operations' ids, then of the changes'. ``after_seal`` leaves out what that
    seal and those before it cover, ``since`` the operations that ended earlier. Raises NotFound for
    a seal that is not there; 0 stands for none.
    """
    if after_seal and not (after_seal <= MAX_ID and has_seal(connection, after_seal)):
        raise NotFound(
            f'no seal "{after_seal}"', hint="usermgr audit verify tells how many there are"
        )
    written = 0
    encode = json.JSONEncoder(ensure_ascii=False, separators=(", ", ": ")).encode
    keys = history_keys(connection, after_seal=after_seal, since=since)
    for line in _objects(rows_of(connection, keys)):
        out.write(encode({name: line[name] for name in fields}) + "\n")
        written += 1
        if written % _TICK == 0:
            progress(written)
    return written


def _objects(rows: Iterator[tuple[Key, Raw, Raw | None]]) -> Iterator[dict[str, Any]]:
    for key, operation, change in rows:
        told: dict[str, Any] = {name: operation.get(name) for name in OPERATION_FIELDS}
        told |= {"operation_id": key.operation_id, "seal": key.seal_id}
        if change is None:
            told |= dict.fromkeys(CHANGE_FIELDS)
        else:
            told |= {name: change.get(name) for name in CHANGE_FIELDS}
            told |= {"change_id": key.change_id, "erased": change["digest"] is not None}
        for name in _JSON:
            if told[name] is not None:
                told[name] = json.loads(told[name])
        yield told
