"""Bulk verbs: one change of many users, whom a filter or a list selects, in one operation.

However many users there are, the statements are the same. Users whom the change leaves as they are
are not locked, not touched and not recorded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, true

from usermgr.db import changing, selecting
from usermgr.db.engine import Operation
from usermgr.db.selecting import is_named, is_selected, selected
from usermgr.errors import InvalidInput, NotFound
from usermgr.names import MAX_ID, listed, parse_id, visible
from usermgr.records import BulkReport, UserFilter
from usermgr.services.bulk_verbs import Change, Prepare
from usermgr.services.guards import holders_kept
from usermgr.services.lookup import user_conditions
from usermgr.services.references import no_such_user, user_email

FIRST: Final = 10
"""How many of the lines that name nobody are told."""

_BATCH: Final = 10_000
"""Lines that are sent to the database at once."""


@dataclass(frozen=True, slots=True)
class Named:
    """Users that are named, by id or e-mail, each on a line; ``lines`` can be read again.

    ``source`` is the file, None where they were named one by one.
    """

    lines: Callable[[], Iterable[tuple[int, str]]]
    source: str | None = None


Selection = UserFilter | Named


def change_users(
    op: Operation,
    selection: Selection,
    prepare: Prepare,
    *,
    approve: Callable[[int], None] = lambda _: None,
    dry_run: bool = False,
) -> BulkReport:
    """Change everybody who is selected.

    ``approve`` is told how many users will change, before they do. Raises NotFound for a role, a
    claim or a user that does not exist, and Forbidden when a protected role or claim would lose its
    last active user.
    """
    connection = op.connection
    change = prepare(connection)
    selecting.create(connection)
    matches = _matching(connection, selection)
    changes = and_(matches, change.differs)
    selecting.select_users(connection, changes)
    changing.lock(op, selected.name)
    number = selecting.keep_matching(connection, changes)
    if isinstance(selection, Named):
        _require_known(connection, selection.source)
    matched = selecting.count_users(connection, matches)
    if number:
        approve(number)
        with changing.room_for(op, number):
            _apply(op, change)
        op.count(f"user.{change.action}", number)
    stored = bool(number) and not dry_run
    return BulkReport(matched, number, matched - number, dry_run, op.id if stored else None)


def _apply(op: Operation, change: Change) -> None:
    def act() -> None:
        if change.action == "delete":  # With images of its own: there is none after it.
            change.apply(op)
        else:
            with changing.recorded(op, selected.name, change.action):
                change.apply(op)

    if change.takes:
        with holders_kept(op, is_selected()):
            act()
    else:
        act()


def _matching(connection: Connection, selection: Selection) -> ColumnElement[bool]:
    if isinstance(selection, UserFilter):
        return and_(true(), *user_conditions(connection, selection))
    rows = _read(selection)
    while batch := list(itertools.islice(rows, _BATCH)):
        selecting.add_named(connection, batch)
    selecting.find_named(connection)
    return is_named()


def _read(named: Named) -> Iterator[tuple[int, str, int | None, str | None]]:
    for line, reference in named.lines():
        number = parse_id(reference)
        if number is not None and number <= MAX_ID:
            yield line, reference, number, None
            continue
        try:
            email = reference if number is not None else user_email(reference)
        except InvalidInput as error:
            where = f"line {line} of {_quoted(named.source)}: " if named.source else ""
            raise InvalidInput(f"{where}{error.message}", hint=error.hint) from error
        yield line, reference, None, email


def _require_known(connection: Connection, source: str | None) -> None:
    number, first = selecting.find_unknown(connection, FIRST)
    if not number:
        return
    if source is None:
        raise no_such_user(first[0][1])
    lines = [f'line {line}: no user "{visible(reference)}"' for line, reference in first]
    what = "1 line" if number == 1 else f"{number} lines"
    raise NotFound(
        f"{what} of {_quoted(source)} {'names' if number == 1 else 'name'} nobody; "
        f"nothing was changed{listed(lines, number)}",
        hint="a user is named by id or e-mail; usermgr user list --search TEXT finds them",
        details={"lines": [line for line, _ in first], "number": number},
    )


def _quoted(source: str) -> str:
    return f'"{visible(source)}"'
