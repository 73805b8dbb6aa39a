"""Import: many users in one operation, by the fastest way that is right for what is stored already.

- rebuild: into empty tables, or with an exclusive lock that was asked for; keys are built after.
- append: rows whose e-mails should all be new go straight in beside the stored ones.
- merge: rows are staged and compared with what is stored.

The first two only know "it went well". Whenever a row is refused by the database, or a bad row
means that nothing may be stored, they are undone and everything goes through the merge, which can
tell what is wrong with every row.
"""

from __future__ import annotations

import contextlib
import enum
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Literal

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from usermgr.db import rebuild, staging
from usermgr.db.bulk import load_rows, pass_over_ids, reserve_ids, takes_copy
from usermgr.db.engine import Operation
from usermgr.db.models import claims, roles, user_claims, users
from usermgr.errors import Conflict, Forbidden, InvalidInput
from usermgr.formats.readers import Problem
from usermgr.records import RowOutcome
from usermgr.services.frames import (
    GRANT_COLUMNS,
    STAGED_COLUMNS,
    STAGED_GRANT_COLUMNS,
    USER_COLUMNS,
    Frame,
    FrameOptions,
    FrameSource,
    Kind,
)
from usermgr.services.guards import holders_kept
from usermgr.services.label_ids import LabelIds
from usermgr.services.problems import Problems
from usermgr.services.references import no_such

OnConflict = Literal["fail", "skip", "update"]
OnError = Literal["fail", "skip"]
ON_CONFLICT: tuple[OnConflict, ...] = ("fail", "skip", "update")
ON_ERROR: tuple[OnError, ...] = ("fail", "skip")


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What to do with rows that are taken or bad. ``max_errors`` ends an import that has more.

    ``with_ids`` keeps the ids of the file; no user may be stored yet. ``default_role`` is the role
    of new users whose row names none.
    """

    on_conflict: OnConflict = "fail"
    on_error: OnError = "fail"
    max_errors: int | None = None
    create_roles: bool = False
    create_claims: bool = False
    set_passwords: bool = False
    with_ids: bool = False
    exclusive: bool = False
    default_role: str | None = None


class Way(enum.Enum):
    """How rows get into the tables; see the module."""

    REBUILD = "rebuild"
    APPEND = "append"
    MERGE = "merge"


@dataclass(slots=True)
class Imported:
    """What an import did. ``stored`` is False when a bad row forbade it."""

    counts: Counter[str]
    roles_created: int
    claims_created: int
    stored: bool


def choose_way(connection: Connection, options: ImportOptions) -> Way:
    """How to import, by what is stored at this moment.

    Raises InvalidInput and Forbidden when an exclusive load is asked for and the database knows
    none, or this database user may not do it, or somebody has changed the keys that it would
    rebuild; Forbidden where row security stands in the way; and Conflict when ids are to be kept
    and users are stored already.
    """
    if options.with_ids and not rebuild.is_empty(connection):
        raise _not_empty()
    if options.exclusive and connection.dialect.name != "postgresql":
        raise InvalidInput(
            "--exclusive is for PostgreSQL: on SQLite a writer is alone anyway",
            hint="leave --exclusive out",
        )
    rights = rebuild.find_rights(connection)
    if not rights.see:
        raise Forbidden(
            "row security hides rows from this database user, and lets none be copied in",
            hint="import as a user who has BYPASSRLS, or as the owner where it is not forced",
        )
    if options.exclusive:
        if not rights.rebuild:
            raise Forbidden(
                "only the owner of the tables may rebuild their indexes, with the rights to refer"
                " to them and to create in their schema",
                hint="import without --exclusive, or connect as that user",
            )
        rebuild.require_rebuildable(connection)
        return Way.REBUILD
    if rebuild.is_empty(connection):
        return Way.REBUILD if rights.rebuild else Way.APPEND
    return Way.APPEND if options.on_conflict == "fail" else Way.MERGE


class Import:
    """One import inside an operation.

    ``problems`` and ``outcomes`` are filled for the caller. ``progress`` is told the number of rows
    that were read so far.
    """

    def __init__(
        self,
        op: Operation,
        source: FrameSource,
        options: ImportOptions,
        problems: Problems,
        *,
        outcomes: IO[str] | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._op, self._source, self._options = op, source, options
        self._problems, self._outcomes, self._progress = problems, outcomes, progress
        self._counts: Counter[str] = Counter()
        self._way = Way.MERGE
        self._default_role_id: int | None = None

    def run(self, way: Way) -> Imported:
        """Store the rows, or find out what is wrong with each of them."""
        # Everything is one savepoint, which the direct ways roll back before they give way.
        self._way = way
        if way is not Way.MERGE:
            try:
                return self._run_directly(way)
            except _GiveWay:
                pass
        self._way = Way.MERGE
        return self._merge()

    def _run_directly(self, way: Way) -> Imported:
        connection = self._op.connection
        try:
            with self._op.savepoint():
                keys = self._open() if way is Way.REBUILD else None
                if keys is None:
                    self._way = Way.APPEND
                    return self._load()
                imported = self._load()
                rebuild.build(connection, keys)
                return imported
        except DBAPIError as error:
            if not _gives_way(error):
                raise
            raise _GiveWay from error

    def _open(self) -> list[rebuild.Key] | None:
        """The keys that were dropped; None where the tables cannot be rebuilt and need not be."""
        connection = self._op.connection
        if self._options.exclusive:
            return rebuild.open_exclusively(connection)
        return rebuild.open_empty(connection)

    def _start(self) -> dict[Kind, LabelIds]:
        if self._options.with_ids and not rebuild.is_empty(self._op.connection):
            raise _not_empty()
        self._problems.clear()
        self._problems.begin()
        self._counts.clear()
        if self._outcomes is not None:
            self._outcomes.seek(0)
            self._outcomes.truncate()
        labels: dict[Kind, LabelIds] = {
            "roles": LabelIds(self._op, roles, create=self._options.create_roles),
            "claims": LabelIds(self._op, claims, create=self._options.create_claims),
        }
        self._default_role_id = self._find_default_role(labels["roles"])
        return labels

    def _find_default_role(self, known: LabelIds) -> int | None:
        name = self._options.default_role
        if name is None:
            return None
        role_id = known.find(name.strip())
        if role_id is None:
            raise no_such(roles, name)
        return role_id

    def _load(self) -> Imported:
        connection = self._op.connection
        labels = self._start()
        with self._frames(labels, staged=False) as frames:
            for frame in frames:
                self._note(frame)
                if self._problems.total and self._options.on_error == "fail":
                    raise _GiveWay
                if frame.lacking:  # Whoever is refused by the database stands in its log.
                    raise _GiveWay
                if frame.users is not None:
                    load_rows(connection, users.name, USER_COLUMNS, frame.users)
                if frame.grants is not None:
                    load_rows(connection, user_claims.name, GRANT_COLUMNS, frame.grants)
                self._counts["created"] += frame.rows
                self._counts["grants_added"] += frame.granted
        return self._finish(labels)

    def _merge(self) -> Imported:
        op, options = self._op, self._options
        labels = self._start()
        staging.create(op.connection)
        with self._frames(labels, staged=True) as frames:
            for frame in frames:
                self._note(frame)
                if frame.users is not None:
                    load_rows(op.connection, staging.rows.name, STAGED_COLUMNS, frame.users)
                if frame.grants is not None:
                    load_rows(
                        op.connection, staging.grants.name, STAGED_GRANT_COLUMNS, frame.grants
                    )
        fails = options.on_error == "fail"
        # The users that are changed are found and locked in there. A file may name the successor.
        updates = options.on_conflict == "update"
        with holders_kept(op) if updates else contextlib.nullcontext():
            counts = staging.merge(
                op,
                on_conflict=options.on_conflict,
                set_passwords=options.set_passwords,
                with_ids=options.with_ids,
                default_role_id=self._default_role_id,
                stop_at_problems=fails,
            )
        counts.pop("rejected")
        self._counts.update(counts)
        self._problems.begin()
        self._problems.add(Problem(*found) for found in staging.find_problems(op.connection))
        self._require_few()
        if self._outcomes is not None and not (fails and self._problems.total):
            for outcome in staging.find_outcomes(op.connection, options.on_conflict):
                self._outcomes.write("\t".join(map(str, outcome)) + "\n")
        return self._finish(labels)

    def _frames(
        self, labels: Mapping[Kind, LabelIds], *, staged: bool
    ) -> AbstractContextManager[Iterator[Frame]]:
        connection = self._op.connection
        options = FrameOptions(
            staged=staged,
            # SQLite keeps rows in the order of their ids, and would split pages.
            sorted=self._way is Way.APPEND and takes_copy(connection),
            as_copy=takes_copy(connection),
            created_in=self._op.id,
            now=self._op.started_at,
            with_outcomes=self._outcomes is not None,
            with_ids=self._options.with_ids,
            default_role_id=self._default_role_id,
            may_lack=not staged and self._options.on_conflict == "update",
        )
        return self._source(
            options,
            lambda kind, names: {name: labels[kind].find(name) for name in names},
            self._reserve,
        )

    def _reserve(self, number: int) -> Callable[[], Sequence[int]]:
        ids = reserve_ids(self._op.connection, users.name, number)
        return lambda: ids

    def _note(self, frame: Frame) -> None:
        self._counts["read"] += frame.read
        self._progress(self._counts["read"])
        self._problems.add(frame.problems)
        self._require_few()
        if self._outcomes is not None:
            self._outcomes.write(frame.outcomes)

    def _finish(self, labels: Mapping[Kind, LabelIds]) -> Imported:
        stored = not (self._problems.total and self._options.on_error == "fail")
        counts = self._counts
        if self._options.with_ids:
            pass_over_ids(self._op.connection, users.name)
        for name, key in (
            ("user.create", "created"),
            ("user.update", "updated"),
            ("grant.create", "grants_added"),
            ("grant.delete", "grants_removed"),
        ):
            self._op.count(name, counts[key])
        return Imported(counts, labels["roles"].created, labels["claims"].created, stored)

    def _require_few(self) -> None:
        most = self._options.max_errors
        if most is not None and self._problems.total > most:
            raise TooManyProblems


def _not_empty() -> Conflict:
    return Conflict(
        "ids can be kept in a database without users only, and this one has some",
        hint="import without --with-ids, and with --ignore-column id",
    )


class TooManyProblems(Exception):
    """More rows are bad than ``max_errors`` allows."""


class _GiveWay(Exception):
    """What a direct way cannot do: the merge has to."""


_GIVES_WAY = (
    "23505",  # an e-mail is taken, or stands in the file twice, or an id does
    "40P01",  # a deadlock with another import
    "UNIQUE constraint failed: users.",
)
"""SQLSTATEs of PostgreSQL and messages of SQLite that say what the merge tells by row."""


def _gives_way(error: DBAPIError) -> bool:
    told = getattr(error.orig, "pgcode", None) or str(error.orig)
    return told.startswith(_GIVES_WAY)


def read_outcomes(outcomes: IO[str]) -> Iterator[RowOutcome]:
    """The outcomes of the rows, in the order of their numbers."""
    outcomes.seek(0)
    for text in outcomes:
        number, email, user_id, outcome = text.rstrip("\n").split("\t")
        yield RowOutcome(int(number), email, int(user_id), outcome)
