"""Checked rows -> frames: what one step of an import sends to the database, ready to be sent.

Frames are made by this process, or by one beside it that works ahead on another core
(``row_process``). Whoever makes them asks for two things by function: the ids of roles and claims,
and the ids of new users.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from usermgr.formats.copytext import Column, Same, copy_text
from usermgr.formats.readers import CHUNK_ROWS, Problem
from usermgr.names import visible
from usermgr.passwords import UNUSABLE
from usermgr.services.rows import Rows, undecoded

Kind = Literal["roles", "claims"]
Resolve = Callable[[Kind, Iterable[str]], Mapping[str, int | None]]
"""The ids of the named roles or claims; None where there is none."""

AskIds = Callable[[int], Callable[[], Sequence[int]]]
"""Asks for ascending ids for that many new users; the function that comes back waits for them."""

CHUNKS: Final = 5
"""How many chunks make a frame: fewer cost more round trips, more take memory."""

SORTED_CHUNKS: Final = 50
"""How many do that are sorted together: more find more neighbours in the index."""

FIRST_SORTED_CHUNKS: Final = (5, 10, 20)
"""Fewer in the beginning, while the database has nothing to do yet."""

USER_COLUMNS = (
    "id",
    "name",
    "email",
    "password",
    "role_id",
    "active",
    "created_at",
    "created_in",
)
GRANT_COLUMNS = ("user_id", "claim_id")
STAGED_COLUMNS = (
    "number",
    "id",
    "email",
    "name",
    "role_id",
    "has_claims",
    "active",
    "created_at",
    "password",
    "line",
)
STAGED_GRANT_COLUMNS = ("number", "claim_id")


@dataclass(frozen=True, slots=True)
class FrameOptions:
    """What frames are made for.

    ``staged`` frames are for the staging tables and refer to rows by number; the others are new
    users with ids, created in the operation ``created_in`` at ``now``. Where an index of e-mails is
    there already, frames ``sorted`` by e-mail visit its pages in order.
    ``as_copy`` renders the rows for PostgreSQL's COPY; else they are columns. ``with_outcomes``
    notes what becomes of each row. ``with_ids`` gives new users the ids that the rows have, and
    ``default_role_id`` the role of those whose row has none. ``may_lack`` tells that rows may lack
    what a new user needs.
    """

    staged: bool
    sorted: bool
    as_copy: bool
    created_in: int
    now: datetime
    with_outcomes: bool = False
    with_ids: bool = False
    default_role_id: int | None = None
    may_lack: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One step: ``users`` and ``grants`` hold the rows, or None when there are none of them.

    ``read`` counts the rows of the file, bad ones included.
    """

    read: int
    problems: list[Problem]
    rows: int
    granted: int
    users: bytes | list[Column] | None
    grants: bytes | list[Column] | None
    outcomes: str
    lacking: bool = False


class PasswordsFound(Exception):
    """Rows have plain passwords, and whoever reads them has not prepared for that."""


FrameSource = Callable[[FrameOptions, Resolve, AskIds], AbstractContextManager[Iterator[Frame]]]
"""Gives the frames of the rows from the first one on, as often as it is called."""


def make_frames(
    chunks: Iterable[Rows], options: FrameOptions, resolve: Resolve, ask_ids: AskIds
) -> Iterator[Frame]:
    """A frame for every few chunks of rows.

    The ids of a frame are asked for before the frame ahead of it is given out, so that they are
    there when they are needed.
    """
    resolved = (_resolved(chunk, resolve) for chunk in chunks)
    waiting: tuple[list[Rows], Callable[[], Sequence[int]]] | None = None
    sizes = _frame_sizes(options)
    while several := list(itertools.islice(resolved, next(sizes))):
        number = sum(len(rows.lines) for rows in several)
        has_ids = options.staged or options.with_ids or not number
        following = several, _no_ids if has_ids else ask_ids(number)
        if waiting is not None:
            yield _frame(*waiting, options)
        waiting = following
    if waiting is not None:
        yield _frame(*waiting, options)


def _frame_sizes(options: FrameOptions) -> Iterator[int]:
    """How many chunks make the frames, one after the other."""
    if not options.sorted:
        return itertools.repeat(CHUNKS)
    return itertools.chain(FIRST_SORTED_CHUNKS, itertools.repeat(SORTED_CHUNKS))


def _no_ids() -> Sequence[int]:
    return ()


def _resolved(rows: Rows, resolve: Resolve) -> Rows:
    """The rows with ids in place of names, without those whose names mean nothing."""
    # In the order of the file: what is created gets its spelling from where it stands first.
    roles = resolve("roles", dict.fromkeys(filter(None, rows.roles)))
    combinations = dict.fromkeys(filter(None, rows.claims))
    claims = resolve("claims", dict.fromkeys(itertools.chain.from_iterable(combinations)))
    found = {held: tuple(dict.fromkeys(map(claims.get, held))) for held in combinations}
    bad: dict[int, Problem] = {}
    if None in roles.values() or None in claims.values():
        for position, (number, line) in enumerate(zip(rows.numbers, rows.lines, strict=True)):
            role, held = rows.roles[position], rows.claims[position] or ()
            unknown = next((name for name in held if claims[name] is None), None)
            if role and roles[role] is None:
                reason = undecoded("role", role) or f'no role "{visible(role)}"'
                bad[position] = Problem(number, line, "unknown_role", reason)
            elif unknown is not None:
                reason = undecoded("claim", unknown) or f'no claim "{visible(unknown)}"'
                bad[position] = Problem(number, line, "unknown_claim", reason)
    kept = rows.without(bad)
    kept.roles = [roles[name] if name else None for name in kept.roles]  # type: ignore[misc]
    kept.claims = [found[held] if held else held for held in kept.claims]  # type: ignore[misc]
    return kept


def _frame(several: list[Rows], ids: Callable[[], Sequence[int]], options: FrameOptions) -> Frame:
    read = sum(len(rows.lines) + len(rows.problems) for rows in several)
    problems = sorted(problem for rows in several for problem in rows.problems)
    parts = [rows for rows in _parts(several, options) if rows.lines]
    new_ids = ids()
    users: list[list[Column]] = []
    grants: list[list[Column]] = []
    outcomes: list[tuple[int, str, int]] = []
    stored = granted = 0
    for rows in parts:
        keys: Sequence[int] = rows.numbers
        if options.staged:
            users.append(_staged_columns(rows))
        else:
            keys = new_ids[stored : stored + len(rows.lines)]
            if options.with_ids:
                keys = rows.ids  # type: ignore[assignment]
            users.append(_user_columns(rows, keys, options))
            if options.with_outcomes:
                outcomes += zip(rows.numbers, rows.emails, keys, strict=True)
        held = _grant_columns(keys, rows.claims)
        if held[0]:
            grants.append([*held])
        stored, granted = stored + len(rows.lines), granted + len(held[0])
    return Frame(
        read=read,
        problems=problems,
        rows=stored,
        granted=granted,
        users=_encoded(users, options),
        grants=_encoded(grants, options),
        outcomes="".join(
            f"{number}\t{email}\t{key}\tcreated\n" for number, email, key in sorted(outcomes)
        ),
        lacking=options.may_lack and any(_lacks(rows, options) for rows in parts),
    )


def _lacks(rows: Rows, options: FrameOptions) -> bool:
    return None in rows.names or (options.default_role_id is None and None in rows.roles)


def _parts(several: list[Rows], options: FrameOptions) -> Iterable[Rows]:
    """The rows in the order in which they are to be stored. COPY takes any number of parts, and
    small ones, which stay in the processor's cache, are rendered in half the time."""
    if not options.sorted:
        return several if options.as_copy else [Rows.joined(several)]
    # New ids ascend then as well: their index grows at its end only.
    rows = Rows.joined(several)
    order = sorted(range(len(rows.lines)), key=rows.emails.__getitem__)
    return (rows.at(order[at : at + CHUNK_ROWS]) for at in range(0, len(order), CHUNK_ROWS))


def _encoded(parts: list[list[Column]], options: FrameOptions) -> bytes | list[Column] | None:
    if not parts:
        return None
    return b"".join(map(copy_text, parts)) if options.as_copy else parts[0]


def _user_columns(rows: Rows, ids: Sequence[int], options: FrameOptions) -> list[Column]:
    return [
        ids,
        rows.names,
        rows.emails,
        _filled(rows.hashes, UNUSABLE),
        _filled(rows.roles, options.default_role_id),
        _filled(rows.active, True),
        _filled(rows.created_at, options.now),
        Same(options.created_in),
    ]


def _staged_columns(rows: Rows) -> list[Column]:
    return [
        rows.numbers,
        rows.ids,
        rows.emails,
        rows.names,
        rows.roles,
        [held is not None for held in rows.claims],
        rows.active,
        rows.created_at,
        rows.hashes,
        Same(None) if rows.lines == rows.numbers else rows.lines,
    ]


def _grant_columns(
    keys: Sequence[int], claims: Sequence[Sequence[Any] | None]
) -> tuple[list[int], list[int]]:
    owners: list[int] = []
    held_claims: list[int] = []
    for key, held in zip(keys, claims, strict=True):
        for claim_id in held or ():
            owners.append(key)
            held_claims.append(claim_id)
    return owners, held_claims


def _filled(column: Sequence[Any], value: Any) -> Column:
    """The column with the value in place of None."""
    if None not in column:
        return column
    if set(column) == {None}:
        return Same(value)
    return [value if item is None else item for item in column]
