"""The canonical form of the history, and the digests that seals are made of.

A leaf is the SHA-256 of one row in canonical form: JSON with sorted keys, no spaces, in UTF-8,
instants as RFC 3339 text in UTC with microseconds. Of a change the leaf covers name and images by a
salted digest only, which takes their place when they are erased. docs/security.md tells the form
for those who want to compute it themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection

from usermgr.db.evidence import Key, Raw, rows_of, sealed_keys


class Leaf(NamedTuple):
    """The leaf of one row as a seal keeps it.

    ``line`` is ``o5:<hex>`` for an operation, ``c17:<hex>`` for a change. ``erased`` tells that the
    row is a change whose images gave way to their digest.
    """

    key: Key
    line: str
    erased: bool


def sealed_leaves(connection: Connection, first: int, last: int) -> Iterator[Leaf]:
    """The leaves of what the seals from ``first`` to ``last`` cover, in the order of the seals."""
    for key, operation, change in rows_of(connection, sealed_keys(connection, first, last)):
        if change is None:
            yield Leaf(key, f"o{key.operation_id}:{operation_leaf(operation)}", False)
        else:
            line = f"c{key.change_id}:{change_leaf(change)}"
            yield Leaf(key, line, change["digest"] is not None)


def operation_leaf(operation: Raw) -> str:
    """The leaf of an operation: every column counts."""
    return _sha256({**operation, "counts": _parsed(operation["counts"])})


def change_leaf(change: Raw) -> str:
    """The leaf of a change."""
    columns = ("id", "operation_id", "entity", "entity_id", "action")
    covered = {column: change[column] for column in columns}
    if change["digest"] is None:
        covered["digest"] = images_digest(change)
    elif (change["name"], change["before"], change["after"], change["salt"]) == ("", *[None] * 3):
        covered["digest"] = change["digest"]
    else:
        # Nobody may put other images in front of the digest of the true ones.
        covered["digest"] = {"beside": images_digest(change)}
    return _sha256(covered)


def images_digest(change: Raw) -> str:
    """The digest that stands for name and images of a change, and outlives them.

    The salt keeps others from finding out by trial what was erased.
    """
    return _sha256(
        {
            "salt": change["salt"] or "",
            "name": change["name"],
            "before": _parsed(change["before"]),
            "after": _parsed(change["after"]),
        }
    )


def canonical(value: Any) -> bytes:
    """The value in canonical form."""
    return _ENCODE(value).encode("utf-8", "surrogatepass")


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def _blob(value: Any) -> Any:
    """SQLite keeps bytes in any column: they are no row of ours, but have a form as well."""
    return {"blob": bytes(value).hex()}


_ENCODE = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_blob
).encode


def _parsed(stored: Any) -> Any:
    """What the JSON means; what is none has a form of its own.

    So has null, which is not the same as nothing, and an object that has a key twice, of which
    every reader may take another one.
    """
    if stored is None:
        return None
    try:
        parsed = _DECODE(stored)
    except (ValueError, TypeError, RecursionError):
        return {"unreadable": stored}
    return {"unreadable": stored} if parsed is None else parsed


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object. Raises ValueError when a key stands in it twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands in the object twice")
    return made


_DECODE = json.JSONDecoder(object_pairs_hook=_once).decode
