"""Export: users as files that an import reads, streamed from one statement and so one snapshot."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import IO, Any, Final

from sqlalchemy import ColumnElement, Connection, FromClause, Select, case, func, select

from usermgr.db.ahead import prefetched
from usermgr.db.copying import copy_out
from usermgr.db.images import counts
from usermgr.db.models import claims, roles, user_claims, users
from usermgr.db.sql import escaped_list, instant_text, joined
from usermgr.errors import InvalidInput
from usermgr.formats.writers import cell, csv_writer, escape_tsv
from usermgr.names import visible
from usermgr.passwords import UNUSABLE
from usermgr.records import UserFilter
from usermgr.services.lookup import user_conditions
from usermgr.services.rows import FORMULA_STARTS

BATCH: Final = 5_000
FORMATS: Final = ("csv", "tsv", "jsonl", "json")

DEFAULT_FIELDS: Final = ("name", "email", "role", "claims", "active", "created_at")
PASSWORD_HASH: Final = "password_hash"  # noqa: S105 - the name of a column


def _true_or_false(condition: ColumnElement[Any]) -> ColumnElement[str]:
    return case((condition, "true"), else_="false")


_COLUMNS: Final[dict[str, ColumnElement[Any]]] = {
    "id": users.c.id,
    "name": users.c.name,
    "email": users.c.email,
    "role_id": users.c.role_id,
    "role": roles.c.description,
    "claims": joined(claims.c.description),
    "active": users.c.active,
    "has_password": func.substr(users.c.password, 1, 1) != UNUSABLE,
    "version": users.c.version,
    "created_at": instant_text(users.c.created_at),
    "updated_at": instant_text(users.c.updated_at),
    PASSWORD_HASH: users.c.password,
}
_AS_CELLS: Final = _COLUMNS | {
    "claims": escaped_list(claims.c.description),
    "active": _true_or_false(_COLUMNS["active"]),
    "has_password": _true_or_false(_COLUMNS["has_password"]),
}
"""On PostgreSQL: columns that COPY writes as ``formats.writers.cell`` does."""

FIELDS: Final = tuple(_COLUMNS)
"""What can be exported. Instants are RFC 3339 text, claims a list."""

Writer = Generator[None, list[Sequence[Any]], None]
"""Takes columns of as many rows as they are sent; closed behind the last."""

_json: Final = json.JSONEncoder(ensure_ascii=False).encode


def not_exported(format_name: str) -> InvalidInput:
    """The error of a format that no export has."""
    return InvalidInput(
        f'users cannot be exported as "{visible(format_name)}"',
        hint="the formats are " + ", ".join(FORMATS),
    )


def require_cells(format_name: str) -> None:
    """Raise InvalidInput where ``--safe`` is asked for and no spreadsheet reads the format."""
    if format_name not in ("csv", "tsv"):
        raise InvalidInput(
            f"--safe is for csv and tsv, not for {format_name}", hint="leave --safe out"
        )


def choose_fields(
    chosen: str | None, *, with_ids: bool, with_password_hashes: bool
) -> tuple[str, ...]:
    """The fields of an export. ``chosen`` are names with commas between, or the usual ones.

    Raises InvalidInput for unknown ones, and for hashes that were not asked for by name.
    """
    fields = tuple(name.strip() for name in chosen.split(",")) if chosen else DEFAULT_FIELDS
    if with_ids and "id" not in fields:
        fields = ("id", *fields)
    if PASSWORD_HASH in fields and not with_password_hashes:
        raise InvalidInput(
            f"{PASSWORD_HASH} is exported only with --with-password-hashes",
            hint="add that option, or leave the field out",
        )
    if with_password_hashes and PASSWORD_HASH not in fields:
        fields = (*fields, PASSWORD_HASH)
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        raise InvalidInput(
            f'unknown field "{visible(unknown[0])}"', hint="the fields are " + ", ".join(FIELDS)
        )
    return tuple(dict.fromkeys(fields))


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
    conditions = user_conditions(connection, wanted)
    if connection.dialect.name == "postgresql" and format_name == "csv" and not safe:
        # The server writes csv itself, in half the time.
        out.write(",".join(fields) + "\n")
        with copy_out(connection, _selected(_AS_CELLS, fields, conditions)) as batches:
            return _counted(batches, lambda lines: out.write(b"".join(lines).decode()), progress)
    write = (_write_table if format_name in ("csv", "tsv") else _write_objects)(
        out, format_name, fields, safe
    )
    next(write)
    statement = _selected(_COLUMNS, fields, conditions)
    rows = connection.execute(statement, execution_options={"yield_per": BATCH})
    with prefetched(rows.partitions()) as batches:
        written = _counted(
            batches, lambda batch: write.send(list(zip(*batch, strict=True))), progress
        )
    write.close()
    return written


def _selected(
    columns: dict[str, ColumnElement[Any]],
    fields: Sequence[str],
    conditions: Sequence[ColumnElement[bool]],
) -> Select[Any]:
    granted = select(columns["claims"].label("held")).join_from(user_claims, claims).where(counts())
    source: FromClause = users.join(roles)
    if conditions:
        held: ColumnElement[Any] = granted.where(
            user_claims.c.user_id == users.c.id
        ).scalar_subquery()
    else:
        # Everybody's claims: the databases group them twice as fast as they look them up.
        grouped = granted.add_columns(user_claims.c.user_id).group_by(user_claims.c.user_id)
        by_user = grouped.subquery()
        held = by_user.c.held
        if "claims" in fields:
            source = source.outerjoin(by_user, by_user.c.user_id == users.c.id)
    chosen = columns | {"claims": held}
    return (
        select(*(chosen[name].label(name) for name in fields))
        .select_from(source)
        .where(*conditions)
        .order_by(users.c.id)
    )


def _counted(
    batches: Iterable[Sequence[Any]],
    write: Callable[[Any], Any],
    progress: Callable[[int], None],
) -> int:
    written = 0
    for batch in batches:
        write(batch)
        written += len(batch)
        progress(written)
    return written


def _write_table(out: IO[str], format_name: str, fields: Sequence[str], safe: bool) -> Writer:
    if format_name == "csv":
        write = csv_writer(out).writerows
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


def _write_objects(out: IO[str], format_name: str, fields: Sequence[str], _safe: bool) -> Writer:
    array = format_name == "json"
    start, between, end = ("[\n", ",\n", "") if array else ("", "\n", "\n")
    object_of = "{" + ", ".join(f"{_json(name)}: %s" for name in fields) + "}"
    try:
        while True:
            columns = yield
            texts = [_encoded(name, column) for name, column in zip(fields, columns, strict=True)]
            objects = between.join(map(object_of.__mod__, zip(*texts, strict=True)))
            out.write(start + objects + end)
            start = between if array else ""
    finally:
        if array:
            out.write("[]\n" if start == "[\n" else "\n]\n")


def _encoded(name: str, column: Sequence[Any]) -> Sequence[str]:
    if name == "claims":
        known = {held: _json(_split(held)) for held in set(column)}
        return [known[held] for held in column]
    if name in ("active", "has_password"):
        return ["true" if value else "false" for value in column]
    return list(map(_json, column))


def _split(held: str | None) -> list[str]:
    return sorted(held.split("\x1f")) if held else []
