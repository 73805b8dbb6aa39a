"""Export: users as files that an import reads, streamed from one statement and so one snapshot."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Final

from sqlalchemy import Connection, func, select

from usermgr.db.models import claims, roles, user_claims, users
from usermgr.db.sql import instant_text, joined
from usermgr.formats.writers import cell, escape_tsv
from usermgr.passwords import UNUSABLE
from usermgr.records import UserFilter
from usermgr.services.lookup import user_conditions
from usermgr.services.prefetching import prefetched
from usermgr.services.rows import FORMULA_STARTS

BATCH: Final = 5_000

DEFAULT_FIELDS: Final = ("name", "email", "role", "claims", "active", "created_at")
PASSWORD_HASH: Final = "password_hash"  # noqa: S105 - the name of a column

_HELD = (
    select(joined(claims.c.description))
    .join(user_claims, user_claims.c.claim_id == claims.c.id)
    .where(user_claims.c.user_id == users.c.id)
    .scalar_subquery()
)
_COLUMNS: Final = {
    "id": users.c.id,
    "name": users.c.name,
    "email": users.c.email,
    "role_id": users.c.role_id,
    "role": roles.c.description,
    "claims": _HELD,
    "active": users.c.active,
    "has_password": func.substr(users.c.password, 1, 1) != UNUSABLE,
    "version": users.c.version,
    "created_at": instant_text(users.c.created_at),
    "updated_at": instant_text(users.c.updated_at),
    PASSWORD_HASH: users.c.password,
}
FIELDS: Final = tuple(_COLUMNS)
"""What can be exported. Instants are RFC 3339 text, claims a list."""

Columns = list[Sequence[Any]]


def export_users(
    connection: Connection,
    out: IO[str],
    wanted: UserFilter,
    *,
    format_name: str,
    fields: Sequence[str],
    safe: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the users that match, by id; returns their number.

    ``safe`` puts an apostrophe before cells that a spreadsheet would take for a formula, in csv and
    tsv. ``progress`` is told the number of users that are written so far.
    """
    statement = (
        select(*(_COLUMNS[name].label(name) for name in fields))
        .select_from(users)
        .join(roles, roles.c.id == users.c.role_id)
        .where(*user_conditions(connection, wanted))
        .order_by(users.c.id)
    )
    rows = connection.execute(statement, execution_options={"yield_per": BATCH})
    write = (_write_table if format_name in ("csv", "tsv") else _write_objects)(
        out, format_name, fields, safe
    )
    next(write)
    written = 0
    with prefetched(rows.partitions()) as partitions:
        for partition in partitions:
            write.send(list(zip(*partition, strict=True)))
            written += len(partition)
            progress(written)
    write.close()
    return written


Writer = Iterator[None]


def _write_table(out: IO[str], format_name: str, fields: Sequence[str], safe: bool) -> Any:
    writer = csv.writer(out, lineterminator="\n")
    if format_name == "csv":
        write = writer.writerows
    else:

        def write(rows: Any) -> Any:
            out.writelines("\t".join(map(escape_tsv, row)) + "\n" for row in rows)

    write([fields])
    while True:
        columns = yield
        texts = [_cells(name, column) for name, column in zip(fields, columns, strict=True)]
        if safe:
            texts = [_guarded(column) for column in texts]
        write(zip(*texts, strict=True))


def _cells(name: str, column: Sequence[Any]) -> Sequence[str]:
    if name == "claims":
        known = {held: cell(_split(held)) for held in set(column)}
        return [known[held] for held in column]
    if name in ("active", "has_password"):
        return ["true" if value else "false" for value in column]
    if name in ("id", "role_id", "version"):
        return list(map(str, column))
    return ["" if value is None else value for value in column] if None in column else column


def _guarded(column: Sequence[str]) -> Sequence[str]:
    return [f"'{text}" if text.startswith(FORMULA_STARTS) else text for text in column]


def _write_objects(out: IO[str], format_name: str, fields: Sequence[str], _safe: bool) -> Any:
    encode = json.JSONEncoder(ensure_ascii=False).encode
    array = format_name == "json"
    separator, end = ("[\n", "") if array else ("", "\n")
    try:
        while True:
            columns = yield
            typed = [_typed(name, column) for name, column in zip(fields, columns, strict=True)]
            for row in zip(*typed, strict=True):
                out.write(separator + encode(dict(zip(fields, row, strict=True))) + end)
                separator = ",\n" if array else ""
    finally:
        if array:
            out.write("[]\n" if separator == "[\n" else "\n]\n")


def _typed(name: str, column: Sequence[Any]) -> Sequence[Any]:
    if name == "claims":
        known = {held: _split(held) for held in set(column)}
        return [known[held] for held in column]
    if name in ("active", "has_password"):
        return list(map(bool, column))
    return column


def _split(held: str | None) -> list[str]:
    return sorted(held.split("\x1f")) if held else []
