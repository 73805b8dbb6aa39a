"""Verification: recomputes every seal from the rows, and names the first that is not as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, zip_longest
from operator import attrgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from usermgr.db import evidence, evidence_gaps
from usermgr.db.evidence import StoredSeal
from usermgr.errors import InvalidInput, Mismatch
from usermgr.names import visible
from usermgr.records import AuditReport
from usermgr.services.leaves import Leaf, sealed_leaves
from usermgr.services.sealing import Digest
from usermgr.services.signing import Check

_DIGEST_LENGTH: Final = 64
_TICK: Final = 1_000

_WAY_OUT: Final = (
    "somebody wrote past usermgr: compare with a backup, or with what audit export wrote"
)


class _Line(NamedTuple):
    """A leaf as the blocks of a seal keep it."""

    seal_id: int
    block: int
    text: str


class _Difference(NamedTuple):
    """Where the blocks and the rows part: one of the two may be missing."""

    stored: _Line | None
    found: Leaf | None
    operation_id: int
    """Of the last operation that the blocks name so far."""


def verify_history(
    connection: Connection,
    *,
    anchor: str | None = None,
    check: Check | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> AuditReport:
    """Recompute every seal. Raises Mismatch for the first thing that is not as it was sealed.

    ``anchor`` is the digest of any seal, kept elsewhere: it must be one of the chain's. ``check``
    must find the newest seal signed, and with it what it covers. Neither is without a seal. Raises
    InvalidInput for an anchor that cannot be a digest. ``progress`` is told the number of rows that
    are done so far.
    """
    wanted = _read_anchor(anchor)
    walk = _Walk(connection, evidence.last_seal_id(connection), progress)
    anchored = False
    last: StoredSeal | None = None
    for seal in evidence.seals(connection, walk.last):
        walk.verify(seal, last)
        anchored = anchored or seal.digest == wanted
        last = seal
    walk.end()
    _refuse_gaps(connection)
    if last is None and (wanted is not None or check is not None):
        raise _no_seal("signature" if wanted is None else "anchor")
    if wanted is not None and not anchored:
        raise _broken(
            f'no seal has the digest "{wanted}": seals were removed, or made anew over other rows',
            problem="anchor",
        )
    if check is not None and last is not None:
        _check_signature(last, check)
    return AuditReport(
        seals=last.id if last else 0,
        operations=walk.rows - walk.changes,
        changes=walk.changes,
        erased=walk.erased,
        unsealed=evidence_gaps.count_unsealed(connection),
        digest=last.digest if last else None,
    )


class _Walk:
    """Goes through blocks and rows side by side, seal by seal."""

    def __init__(self, connection: Connection, last: int, progress: Callable[[int], None]) -> None:
        self.last = last
        self.rows = self.changes = self.erased = 0
        self._connection, self._progress = connection, progress
        self._lines = _Groups(_lines(connection, last))
        self._leaves = _Groups(sealed_leaves(connection, 0, last), lambda leaf: leaf.key.seal_id)

    def verify(self, seal: StoredSeal, before: StoredSeal | None) -> None:
        """Verify one seal. Raises Mismatch."""
        self._require_next(seal, before)
        difference = None
        stored, found = Digest(seal.previous), Digest(seal.previous)
        operation_id = 0
        pairs = zip_longest(self._lines.of(seal.id), self._leaves.of(seal.id))
        for line, leaf in pairs:
            if line is not None:
                stored.add([line.text])
                if line.text.startswith("o"):
                    operation_id = _number(line.text)
            if leaf is not None:
                found.add([leaf.line])
                self._count(leaf)
            same = line is not None and leaf is not None and line.text == leaf.line
            if difference is None and not same:
                difference = _Difference(line, leaf, operation_id)
        data = (seal.id, seal.sealed_at, seal.operations, seal.changes)
        blocks_hold = stored.end(*data) == seal.digest
        rows_hold = found.end(*data) == seal.digest
        if not (blocks_hold and rows_hold):
            raise self._tell(seal, difference, blocks_hold=blocks_hold, rows_hold=rows_hold)

    def end(self) -> None:
        """Raise Mismatch for what belongs to a seal behind the last."""
        for groups in (self._lines, self._leaves):
            if (left := groups.next_group()) is not None:
                raise _missing(left)

    def _require_next(self, seal: StoredSeal, before: StoredSeal | None) -> None:
        expected = before.id + 1 if before else 1
        if seal.id != expected:
            raise _missing(expected)
        if seal.previous != (before.digest if before else ""):
            raise _broken(
                f"seal {seal.id} does not continue "
                + (f"seal {before.id}" if before else "from the beginning"),
                problem="chain",
                seal=seal.id,
            )
        for groups in (self._lines, self._leaves):
            left = groups.next_group()
            if left is not None and left < seal.id:
                raise _missing(left)

    def _count(self, leaf: Leaf) -> None:
        self.rows += 1
        self.changes += bool(leaf.key.change_id)
        self.erased += leaf.erased
        if self.rows % _TICK == 0:
            self._progress(self.rows)

    def _tell(
        self, seal: StoredSeal, where: _Difference | None, *, blocks_hold: bool, rows_hold: bool
    ) -> Mismatch:
        if where is None:
            told = "is not that of what it covers: the seal was changed, or its rows and blocks"
            return _broken(f"the digest of seal {seal.id} {told}", problem="seal", seal=seal.id)
        block = where.stored.block if where.stored else None
        if rows_hold:
            which = "a block" if block is None else f"block {block}"
            return _broken(
                f"{which} of seal {seal.id} was changed", problem="block", seal=seal.id, block=block
            )
        told, problem, row = self._row(where)
        if not blocks_hold:
            told += f", and the blocks of seal {seal.id} do not have its digest"
        return _broken(
            f"{told} (seal {seal.id})", problem=problem, seal=seal.id, block=block, row=row
        )

    def _row(self, where: _Difference) -> tuple[str, str, str]:
        """What happened to the row, in words and in one, and which it is."""
        stored, found = where.stored, where.found
        if stored is None or (found is not None and _comes_first(found, stored, where)):
            assert found is not None  # noqa: S101 - one of the two is there
            name = _name_of(found)
            return f"{name} was put in after the sealing", "inserted", _code(found.line)
        kind, number = stored.text[:1], _number(stored.text)
        name = f"operation {number}" if kind == "o" else f"change {number}"
        if found is not None and _code(found.line) == _code(stored.text):
            return f"{_name_of(found)} was changed after it was sealed", "edited", _code(found.line)
        if kind == "c":
            name += f" of operation {where.operation_id}"
        moved = evidence_gaps.find_row(self._connection, kind, number)
        there = f"; it stands in operation {moved} now" if kind == "c" and moved else ""
        there = "; it is in no seal, or in another, now" if kind == "o" and moved else there
        return f"{name} was removed after it was sealed{there}", "removed", _code(stored.text)


class _Groups:
    """Items that come ordered by the id of their seal, taken seal by seal."""

    def __init__(
        self, items: Iterator[Any], seal_of: Callable[[Any], Any] = attrgetter("seal_id")
    ) -> None:
        self._groups = groupby(items, seal_of)
        self._next: tuple[int, Iterator[Any]] | None = next(self._groups, None)

    def next_group(self) -> int | None:
        """The seal whose items come next; None at the end."""
        return self._next[0] if self._next else None

    def of(self, seal_id: int) -> Iterator[Any]:
        """The items of the seal, which must be the next one, or none."""
        if self._next is None or self._next[0] != seal_id:
            return
        yield from self._next[1]
        self._next = next(self._groups, None)


def _lines(connection: Connection, last: int) -> Iterator[_Line]:
    for block in evidence.blocks(connection, last):
        for line in str(block.leaves).split("\n"):
            yield _Line(block.seal_id, block.number, line)


def _refuse_gaps(connection: Connection) -> None:
    """Raise Mismatch for what no seal tells of: seals that are gone, changes of no operation,
    operations that were sealed in advance, erasures that nobody recorded."""
    if (seal_id := evidence_gaps.find_missing_seal(connection)) is not None:
        raise _missing(seal_id)
    if (change_id := evidence_gaps.find_orphan(connection)) is not None:
        raise _broken(
            f"change {change_id} belongs to no operation", problem="orphan", row=f"c{change_id}"
        )
    if (operation_id := evidence_gaps.find_sealed_without_row(connection)) is not None:
        raise _broken(
            f"operation {operation_id} was put into a seal, and is not there",
            problem="inserted",
            row=f"o{operation_id}",
        )
    if (change_id := evidence_gaps.find_unrecorded_erasure(connection)) is not None:
        raise _broken(
            f"change {change_id} was erased, and no erasure that is recorded says so",
            problem="erased",
            row=f"c{change_id}",
        )


def _check_signature(last: StoredSeal, check: Check) -> None:
    if not check(last.digest, last.signature):
        how = "has a signature of another key"
        hint = "look whether this is the key; if it is, somebody else has made the seals anew"
        if last.signature is None:
            how = "is not signed"
            hint = "sign with: usermgr audit seal --key FILE, as soon as there is something to seal"
        raise Mismatch(
            f"seal {last.id}, the newest, {how}",
            hint=hint,
            details={"problem": "signature", "seal": last.id},
        )


def _no_seal(problem: str) -> Mismatch:
    return Mismatch(
        "this database has no seal",
        hint="look whether it is the right one with: usermgr config show; the first seal is made by"
        " usermgr audit seal",
        details={"problem": problem},
    )


def _read_anchor(anchor: str | None) -> str | None:
    if anchor is None:
        return None
    digest = anchor.strip().lower()
    if len(digest) != _DIGEST_LENGTH or set(digest) - set("0123456789abcdef"):
        raise InvalidInput(
            f'"{visible(anchor)}" is not the digest of a seal',
            hint="usermgr audit seal prints it: 64 hexadecimal digits",
        )
    return digest


def _missing(seal_id: int) -> Mismatch:
    return _broken(f"seal {seal_id} is missing", problem="seal", seal=seal_id)


def _broken(message: str, **details: Any) -> Mismatch:
    return Mismatch(message, hint=_WAY_OUT, details=details)


def _comes_first(found: Leaf, stored: _Line, where: _Difference) -> bool:
    """Whether the row belongs before what the block says: it is one too many there."""
    if stored.text.startswith("o"):
        expected = (_number(stored.text), 0)
    else:
        expected = (where.operation_id, _number(stored.text))
    return (found.key.operation_id, found.key.change_id) < expected


def _name_of(leaf: Leaf) -> str:
    operation_id, change_id = leaf.key.operation_id, leaf.key.change_id
    if change_id:
        return f"change {change_id} of operation {operation_id}"
    return f"operation {operation_id}"


def _code(line: str) -> str:
    return line.partition(":")[0]


def _number(line: str) -> int:
    """The id in a line; -1 where somebody wrote something else."""
    digits = _code(line)[1:]
    return int(digits) if digits.isdecimal() else -1
