"""The history as evidence: its rows as they are stored, whoever stored them, and the seals.

Whatever stands in a row is read without an error, so that a row that was tampered with is named and
not stumbled over. Only keys are sorted; the rows behind them are fetched by the batch, so memory
grows with nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, RowMapping, bindparam, text

from usermgr.db.models import Instant, read_instant
from usermgr.formats.writers import instant

LOCK_KEY: Final = 7_236_834_601_195_340_302
"""Of the advisory lock that lets one seal be made at a time."""

BATCH: Final = 1_000
"""Keys whose rows are fetched together; the same number keeps the statements one text."""

INSTANTS: Final = ("started_at", "finished_at")

_UTC: Final = """
    CASE WHEN {0} BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'
    THEN to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    ELSE CAST(extract(epoch FROM {0}) AS text) END AS {0}
"""
_DIALECT: Final = {
    "postgresql": {
        "instant": _UTC,
        "json": "CAST({0} AS text) AS {0}",
        "ids": "= ANY(CAST(:ids AS bigint[]))",
        "overriding": "OVERRIDING SYSTEM VALUE",
    },
    "sqlite": {
        "instant": "{0}",
        "json": "{0}",
        "ids": "IN (SELECT value FROM json_each(:ids))",
        "overriding": "",
    },
}
_OPERATIONS: Final = """
    SELECT id, command, actor, source, {started_at}, {finished_at}, outcome, {counts}, undoes
    FROM operations WHERE id {ids}
"""
_CHANGES: Final = """
    SELECT id, operation_id, entity, entity_id, name, action, {before}, {after}, salt, digest
    FROM changes WHERE id {ids}
"""
_SEALED: Final = """
    SELECT seal_id, operation_id, 0 AS change_id FROM sealed_operations
    WHERE seal_id BETWEEN :first AND :last
    UNION ALL
    SELECT s.seal_id, s.operation_id, c.id FROM sealed_operations s
    JOIN changes c ON c.operation_id = s.operation_id
    WHERE s.seal_id BETWEEN :first AND :last
    ORDER BY 1, 2, 3
"""
_HISTORY: Final = """
    SELECT s.seal_id, o.id AS operation_id, coalesce(c.id, 0) AS change_id FROM operations o
    LEFT JOIN changes c ON c.operation_id = o.id
    LEFT JOIN sealed_operations s ON s.operation_id = o.id
    WHERE {condition} ORDER BY 2, 3
"""


class Key(NamedTuple):
    """An operation, with ``change_id`` 0, or one of its changes; ``seal_id`` is None unsealed."""

    seal_id: int | None
    operation_id: int
    change_id: int


Raw = Mapping[Any, Any]
"""A row by the names of its columns: instants as RFC 3339 text, JSON as the text it is.

An instant beyond the years 1 to 9999 is told in seconds since 1970, whatever era it is of.
"""


class StoredSeal(NamedTuple):
    """A seal as it is stored, whoever stored it; ``sealed_at`` as text, like every instant."""

    id: int
    sealed_at: Any
    operations: Any
    changes: Any
    previous: Any
    digest: Any
    signature: Any


def sealed_keys(connection: Connection, first: int, last: int) -> Iterator[Key]:
    """What the seals from ``first`` to ``last`` hold, in order: an operation, then its changes."""
    return _stream(connection, _SEALED, {"first": first, "last": last})


def history_keys(
    connection: Connection, *, after_seal: int | None, since: datetime | None
) -> Iterator[Key]:
    """Every operation with its changes in order; one without changes has the change id 0.

    With ``after_seal`` those that no seal up to that one covers; with ``since`` those that ended
    then or later.
    """
    conditions: list[str] = ["1 = 1"]
    values: dict[str, Any] = {}
    if after_seal is not None:
        conditions.append("(s.seal_id IS NULL OR s.seal_id > :after_seal)")
        values["after_seal"] = after_seal
    if since is not None:
        on_sqlite = connection.dialect.name == "sqlite"
        ended = "usermgr_instant(o.finished_at)" if on_sqlite else "o.finished_at"
        conditions.append(f"{ended} >= :since")
    statement = _HISTORY.format(condition=" AND ".join(conditions))
    return _stream(connection, statement, values, since=since)


def rows_of(connection: Connection, keys: Iterator[Key]) -> Iterator[tuple[Key, Raw, Raw | None]]:
    """The keys with their operation and change, which is None for an operation itself.

    Keys whose row is not there are passed over. Those of which there are several rows, where
    somebody dropped the primary key, come with each of them.
    """
    while batch := list(islice(keys, BATCH)):
        made = _fetch(connection, _OPERATIONS, {key.operation_id for key in batch})
        changed = _fetch(connection, _CHANGES, {key.change_id for key in batch if key.change_id})
        for key in batch:
            operations = made.get(key.operation_id, [])
            if key.change_id:
                operation = operations[0] if operations else {}
                yield from ((key, operation, row) for row in changed.get(key.change_id, []))
            else:
                yield from ((key, row, None) for row in operations)


def changes_by_id(connection: Connection, ids: Sequence[int]) -> dict[int, Raw]:
    """The changes with these ids."""
    return {key: rows[-1] for key, rows in _fetch(connection, _CHANGES, set(ids)).items()}


def lock_seals(connection: Connection) -> None:
    """Let nobody else make a seal until the transaction ends; waits as for every other lock.

    On SQLite the transaction has locked the whole database already.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})


def last_seal(connection: Connection) -> Row[Any] | None:
    """The newest seal, None without one."""
    statement = text(
        "SELECT id, sealed_at, operations, changes, previous, digest, public_key, signature"
        " FROM seals ORDER BY id DESC LIMIT 1"
    )
    return connection.execute(statement.columns(sealed_at=Instant())).first()


def has_seal(connection: Connection, seal_id: int) -> bool:
    """Whether there is a seal with this id."""
    found = text("SELECT count(*) FROM seals WHERE id = :id")
    return bool(connection.execute(found, {"id": seal_id}).scalar())


def last_seal_id(connection: Connection) -> int:
    """The id of the newest seal, 0 without one."""
    return connection.execute(text("SELECT max(id) FROM seals")).scalar() or 0


def seals(connection: Connection, last: int) -> Iterator[StoredSeal]:
    """The seals up to ``last`` by id, streamed."""
    on_sqlite = connection.dialect.name == "sqlite"
    sealed_at = _DIALECT[connection.dialect.name]["instant"].format("sealed_at")
    statement = text(
        f"SELECT id, {sealed_at}, operations, changes, previous, digest, signature"
        " FROM seals WHERE id <= :last ORDER BY id"
    )
    rows = connection.execute(statement, {"last": last}, execution_options={"yield_per": BATCH})
    for row in rows:
        seal = StoredSeal(*row)
        yield seal._replace(sealed_at=_instant(seal.sealed_at)) if on_sqlite else seal


def take_operations(connection: Connection, seal_id: int) -> int:
    """Let the seal cover every visible operation that no other covers; returns their number."""
    return connection.execute(
        text("""
            INSERT INTO sealed_operations (operation_id, seal_id)
            SELECT o.id, :seal FROM operations o WHERE NOT EXISTS
            (SELECT 1 FROM sealed_operations s WHERE s.operation_id = o.id) ORDER BY o.id
        """),
        {"seal": seal_id},
    ).rowcount


def store_block(connection: Connection, seal_id: int, number: int, lines: Sequence[str]) -> None:
    """Keep the lines of a seal's block."""
    connection.execute(
        text("INSERT INTO seal_blocks (seal_id, number, leaves) VALUES (:seal, :number, :leaves)"),
        {"seal": seal_id, "number": number, "leaves": "\n".join(lines)},
    )


def blocks(connection: Connection, last: int) -> Iterator[Row[Any]]:
    """The blocks of the seals up to ``last``, in order, streamed."""
    statement = text(
        "SELECT seal_id, number, leaves FROM seal_blocks WHERE seal_id <= :last ORDER BY 1, 2"
    )
    # A block has a thousand lines.
    yield from connection.execute(statement, {"last": last}, execution_options={"yield_per": 10})


def store_seal(connection: Connection, seal: Mapping[str, Any]) -> None:
    """Keep the seal, under the id that it has: the ids of seals have no gaps."""
    columns = tuple(seal)
    overriding = _DIALECT[connection.dialect.name]["overriding"]
    values = ", ".join(f":{column}" for column in columns)
    statement = text(f"INSERT INTO seals ({', '.join(columns)}) {overriding} VALUES ({values})")
    connection.execute(statement.bindparams(bindparam("sealed_at", type_=Instant())), seal)


def _stream(
    connection: Connection, statement: str, values: dict[str, Any], *, since: datetime | None = None
) -> Iterator[Key]:
    selected = text(statement)
    if since is not None:
        selected = selected.bindparams(bindparam("since", since, Instant()))
    rows = connection.execute(selected, values, execution_options={"yield_per": BATCH * 10})
    return (Key(*row) for row in rows)


def _fetch(connection: Connection, statement: str, ids: set[int]) -> dict[int, list[Raw]]:
    found: dict[int, list[Raw]] = {}
    if not ids:
        return found
    on_sqlite = connection.dialect.name == "sqlite"
    words = _DIALECT[connection.dialect.name]
    columns = {name: words["instant"].format(name) for name in INSTANTS}
    columns |= {name: words["json"].format(f'"{name}"') for name in ("counts", "before", "after")}
    selected = text(statement.format(ids=words["ids"], **columns))
    wanted: Any = json.dumps(sorted(ids)) if on_sqlite else sorted(ids)
    rows = connection.execute(selected, {"ids": wanted}).mappings()
    for row in rows:
        found.setdefault(row["id"], []).append(_with_instants(row) if on_sqlite else row)
    return found


def _with_instants(row: RowMapping) -> Raw:
    """The row with its instants in one form; what is none stays as it is."""
    if INSTANTS[0] not in row:
        return row
    return {**row, **{name: _instant(row[name]) for name in INSTANTS}}


def _instant(stored: Any) -> Any:
    try:
        return instant(read_instant(stored))
    except (TypeError, ValueError, OverflowError):
        return stored
