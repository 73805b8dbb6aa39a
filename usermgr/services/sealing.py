"""Seals: a chain of digests over the history, by which a changed row is found and named.

A seal takes every visible operation that no seal covers yet, with its changes. They became visible
together, and a visible operation is finished, so nothing is added to what is sealed; an operation
that commits later goes into the next seal, whatever its id. docs/security.md tells the promise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from usermgr.db import evidence
from usermgr.formats.writers import instant
from usermgr.records import Seal
from usermgr.services.leaves import Leaf, canonical, sealed_leaves
from usermgr.services.signing import Sign

LINES: Final = 1_000
"""How many leaves a block holds."""


class Sealed(NamedTuple):
    """The newest seal, None without one, and whether it was made now."""

    seal: Seal | None
    made: bool


def seal_history(
    connection: Connection,
    at: datetime,
    *,
    sign: Sign | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Sealed:
    """Seal what no seal covers yet; nothing is stored where that is nothing.

    Of two at once the second waits, and seals what the first has left. ``progress`` is told the
    number of rows that are done so far.
    """
    evidence.lock_seals(connection)
    row = evidence.last_seal(connection)
    before = None if row is None else Seal(**row._mapping)
    seal_id, previous = (before.id + 1, before.digest) if before else (1, "")
    operations = evidence.take_operations(connection, seal_id)
    if not operations:
        return Sealed(before, made=False)
    running = Digest(previous)
    rows = 0
    leaves = sealed_leaves(connection, seal_id, seal_id)
    for number, lines in enumerate(_blocks(leaves)):
        evidence.store_block(connection, seal_id, number, lines)
        running.add(lines)
        rows += len(lines)
        progress(rows)
    changes = rows - operations
    digest = running.end(seal_id, instant(at), operations, changes)
    public_key, signature = sign(digest) if sign else (None, None)
    made = Seal(seal_id, at, operations, changes, previous, digest, public_key, signature)
    evidence.store_seal(connection, {name: getattr(made, name) for name in made.__slots__})
    return Sealed(made, made=True)


class Digest:
    """The digest of a seal in the making: SHA-256 over lines of text that each end with LF.

    They are the digest of the seal before, empty for the first, then every leaf in its order, and
    at last the seal's own data in canonical form.
    """

    def __init__(self, previous: str) -> None:
        self._hash = hashlib.sha256(f"{previous}\n".encode())

    def add(self, lines: Iterable[str]) -> None:
        """Add leaves."""
        for line in lines:
            self._hash.update(f"{line}\n".encode())

    def end(self, seal_id: int, sealed_at: Any, operations: Any, changes: Any) -> str:
        """The digest in hexadecimal digits; ``sealed_at`` is RFC 3339 text, if it is an instant."""
        data = {
            "id": seal_id,
            "sealed_at": sealed_at,
            "operations": operations,
            "changes": changes,
        }
        self._hash.update(canonical(data) + b"\n")
        return self._hash.hexdigest()


def _blocks(leaves: Iterator[Leaf]) -> Iterator[list[str]]:
    while lines := [leaf.line for leaf in islice(leaves, LINES)]:
        yield lines
