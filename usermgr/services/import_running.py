"""The run of an import: rehearsed where there are passwords, stored, and told.

An import may need more than one transaction, questions to a person, and files beside what it
stores. The command line and HTTP differ in these; they hand them in, and the steps are the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Protocol

from sqlalchemy import Connection

from usermgr.db.engine import Operation
from usermgr.errors import Unavailable
from usermgr.formats.files import temporary_lines
from usermgr.formats.readers import Problem
from usermgr.records import ImportReport
from usermgr.services.frames import PasswordsFound
from usermgr.services.import_source import ImportSource, Need, Progress, find_needs
from usermgr.services.importing import (
    Import,
    Imported,
    ImportOptions,
    TooManyProblems,
    Way,
    choose_way,
    read_outcomes,
)
from usermgr.services.problems import Problems
from usermgr.services.row_process import frame_source

Approve = Callable[[int], None]
"""Is told, before the commit, how many users an operation changes; may end it with an exception."""

ATTEMPTS = 5
"""How often passwords are hashed that turn out to be needed because others change the users."""


@contextlib.contextmanager
def _unseen(_: int) -> Iterator[tuple[Progress, Progress]]:
    yield (lambda _: None), (lambda _: None)


@contextlib.contextmanager
def _uncounted(_: int) -> Iterator[Progress]:
    yield lambda _: None


@dataclass(frozen=True, slots=True)
class ImportFace:
    """What the command line or HTTP gives to an import.

    ``read`` opens a read-only transaction, ``operation`` the one that is stored unless its argument
    is true, for a dry run. ``transfer`` is given the size of the file and yields what is told the
    bytes and the rows that are done; ``hashing`` is given the number of passwords and yields what
    is told how many are hashed.
    """

    read: Callable[[], AbstractContextManager[Connection]]
    operation: Callable[[bool], AbstractContextManager[Operation]]
    transfer: Callable[[int], AbstractContextManager[tuple[Progress, Progress]]] = _unseen
    hashing: Callable[[int], AbstractContextManager[Progress]] = _uncounted


class ImportOutputs(Protocol):
    """What is written beside the database."""

    @property
    def wants_outcomes(self) -> bool:
        """Whether ``write`` needs to know what became of each row."""
        ...

    @property
    def wants_passwords(self) -> bool:
        """Whether new users without a password get one."""
        ...

    def write(self, told: Told) -> None:
        """Before the commit: what cannot be told is not to be stored."""
        ...

    def settle(self) -> None:
        """After an attempt, however it ended."""
        ...


class NoOutputs:
    """Writes nothing."""

    wants_outcomes = wants_passwords = False

    def write(self, told: Told) -> None:
        """Nothing."""

    def settle(self) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known just before the commit; ``outcomes`` are lines for ``read_outcomes``."""

    source: ImportSource
    problems: Problems
    outcomes: IO[str] | None
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Ran:
    """How an import ended. ``failure`` says why nothing was stored, if so."""

    report: ImportReport
    problems: Problems
    failure: str | None


@dataclass(slots=True)
class ImportRun:
    """One run. Rows that are bad stand in ``problems``, which are the caller's to close."""

    face: ImportFace
    source: ImportSource
    options: ImportOptions
    problems: Problems
    outputs: ImportOutputs = field(default_factory=NoOutputs)
    dry_run: bool = False
    _started: float = field(default=0.0, init=False)

    def go(self, approve: Approve = lambda _: None) -> Ran:
        """Store the rows.

        A hash takes thousands of times as long as all the rest of a row. So what becomes of the
        rows is found out first, in a transaction that is rolled back. Then the passwords are hashed
        that will be stored, and only then everything is done for good.
        """
        self._started = time.monotonic()  # Not counting what a person took to answer.
        with contextlib.ExitStack() as stack:
            if not self.source.begins_with_passwords() and not self.outputs.wants_passwords:
                with contextlib.suppress(PasswordsFound):
                    wants = self.outputs.wants_outcomes
                    outcomes = stack.enter_context(temporary_lines()) if wants else None
                    return self._store(outcomes, approve)
            return self._store_hashed(stack.enter_context(temporary_lines()), approve)

    def _store_hashed(self, outcomes: IO[str], approve: Approve) -> Ran:
        for _ in range(ATTEMPTS):
            self.source.rehearse()
            ran = self._store(outcomes, approve, rehearses=not self.dry_run)
            if ran.failure is not None or self.dry_run:
                return ran
            self._hash(outcomes)
            with contextlib.suppress(_NotHashed):
                return self._store(outcomes, approve)
        raise Unavailable("other commands change the same users all the time", hint="try again")

    def _needs(self, outcomes: IO[str]) -> Iterator[Need]:
        return find_needs(read_outcomes(outcomes), set_passwords=self.options.set_passwords)

    def _hash(self, outcomes: IO[str]) -> None:
        generate = self.outputs.wants_passwords
        number = self.source.count_unhashed(self._needs(outcomes), generate=generate)
        done = 0
        with self.face.hashing(number) as show:

            def count(number: int) -> None:
                nonlocal done
                done += number
                show(done)

            self.source.hash_passwords(self._needs(outcomes), generate=generate, hashed=count)

    def _store(self, outcomes: IO[str] | None, approve: Approve, *, rehearses: bool = False) -> Ran:
        """Of a rehearsal nothing is left.

        Raises _NotHashed when passwords are needed that no rehearsal foresaw.
        """
        imported = operation_id = failure = None
        try:
            with (
                self.face.transfer(self.source.size_bytes) as (read, rows),
                frame_source(self.source, read=read) as frames,
                self._operation(dry_run=rehearses or self.dry_run) as (op, way),
            ):
                imported = Import(
                    op, frames, self.options, self.problems, outcomes=outcomes, progress=rows
                ).run(way)
                if not imported.stored:
                    raise _NotStored
                if not self.dry_run:
                    approve(imported.counts["updated"])
                if not rehearses:
                    self._tell(outcomes)
                operation_id = op.id if op.counts and not self.dry_run else None
        except _NotStored:
            failure = "nothing was stored"
        except TooManyProblems:
            failure = f"more than --max-errors {self.options.max_errors}; nothing was stored"
        finally:
            self.outputs.settle()
        return Ran(self._report(imported, operation_id), self.problems, failure)

    def _tell(self, outcomes: IO[str] | None) -> None:
        if outcomes is not None and not self.dry_run:
            self._require_hashes(outcomes)
        self.outputs.write(Told(self.source, self.problems, outcomes, self.dry_run))

    def _require_hashes(self, outcomes: IO[str]) -> None:
        if not self.source.has_hashes_for(self._needs(outcomes)):
            raise _NotHashed

    @contextlib.contextmanager
    def _operation(self, *, dry_run: bool) -> Iterator[tuple[Operation, Way]]:
        with self.face.read() as connection:
            way = choose_way(connection, self.options)
        with self.face.operation(dry_run) as op:
            yield op, way

    def _report(self, imported: Imported | None, operation_id: int | None) -> ImportReport:
        counts = imported.counts if imported else {}
        seconds = time.monotonic() - self._started
        read = counts.get("read", 0)
        return ImportReport(
            read=read,
            created=counts.get("created", 0),
            updated=counts.get("updated", 0),
            unchanged=counts.get("unchanged", 0),
            skipped=counts.get("skipped", 0),
            rejected=self.problems.total,
            reasons=dict(sorted(self.problems.counts.items())),
            roles_created=imported.roles_created if imported else 0,
            claims_created=imported.claims_created if imported else 0,
            grants_added=counts.get("grants_added", 0),
            grants_removed=counts.get("grants_removed", 0),
            dry_run=self.dry_run,
            operation_id=operation_id,
            seconds=round(seconds, 3),
            rows_per_second=round(read / seconds) if seconds else 0,
        )


class _NotStored(Exception):
    """Rolls the operation back."""


class _NotHashed(Exception):
    """Somebody has changed users since the rehearsal, and more passwords are needed."""


def first_problems(problems: Problems, number: int) -> list[Problem]:
    """The first of what is wrong with rows, by the rows' numbers."""
    return [problem for problem, _ in zip(problems, range(number), strict=False)]
