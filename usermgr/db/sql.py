"""The few SQL functions whose spelling differs between PostgreSQL and SQLite."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    String,
    Subquery,
    Table,
    TextClause,
    bindparam,
    cast,
    func,
    literal,
    select,
    text,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from usermgr.db.models import Instant


class fold(GenericFunction[str]):  # noqa: N801 - named like the SQL function it renders
    """Text for comparison without regard to case: ``lower`` on both, Unicode-aware on SQLite too.

    SQLite's own ``lower`` knows ASCII only; the engine registers ``usermgr_lower`` for queries.
    """

    type = String()
    inherit_cache = True


@compiles(fold)
def _fold(element: fold, compiler: SQLCompiler, **kw: Any) -> str:
    return f"lower({compiler.process(element.clauses, **kw)})"


@compiles(fold, "sqlite")
def _fold_sqlite(element: fold, compiler: SQLCompiler, **kw: Any) -> str:
    return f"usermgr_lower({compiler.process(element.clauses, **kw)})"


class instant(GenericFunction[datetime]):  # noqa: N801 - as above
    """An instant that compares and sorts by time, whoever stored it.

    On SQLite it is text, and CURRENT_TIMESTAMP and other programs write it without a fraction.
    """

    type = Instant()
    inherit_cache = True


@compiles(instant)
def _instant(element: instant, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(instant, "sqlite")
def _instant_sqlite(element: instant, compiler: SQLCompiler, **kw: Any) -> str:
    return f"usermgr_instant({compiler.process(element.clauses, **kw)})"


class json_list(GenericFunction[list[Any]]):  # noqa: N801 - as above
    """The aggregated values as one JSON array, in no particular order."""

    type = JSON()
    inherit_cache = True


@compiles(json_list)
def _json_list(element: json_list, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_agg({compiler.process(element.clauses, **kw)})"


@compiles(json_list, "sqlite")
def _json_list_sqlite(element: json_list, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_group_array({compiler.process(element.clauses, **kw)})"


class json_record(GenericFunction[dict[str, Any]]):  # noqa: N801 - as above
    """One JSON object of keys and values in turn."""

    type = JSON()
    inherit_cache = True


@compiles(json_record)
def _json_record(element: json_record, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_build_object({compiler.process(element.clauses, **kw)})"


@compiles(json_record, "sqlite")
def _json_record_sqlite(element: json_record, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_object({compiler.process(element.clauses, **kw)})"


class current_instant(GenericFunction[datetime]):  # noqa: N801 - as above
    """When the transaction began; on SQLite the statement."""

    type = Instant()
    inherit_cache = True


@compiles(current_instant)
def _current_instant(_element: current_instant, _compiler: SQLCompiler, **_: Any) -> str:
    return "now()"


@compiles(current_instant, "sqlite")
def _current_instant_sqlite(_element: current_instant, _compiler: SQLCompiler, **_: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"


def escape_like(text: str) -> str:
    """The text with LIKE's wildcards escaped by a backslash."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


class by_code_point(GenericFunction[str]):  # noqa: N801 - as above
    """Text that compares and sorts by code point, the same on both databases."""

    type = String()
    inherit_cache = True


@compiles(by_code_point)
def _by_code_point(element: by_code_point, compiler: SQLCompiler, **kw: Any) -> str:
    return f'({compiler.process(element.clauses, **kw)} COLLATE "C")'


@compiles(by_code_point, "sqlite")
def _by_code_point_sqlite(element: by_code_point, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


def insert_new(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that passes over rows whose key is taken."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def insert_or_update(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that gives rows whose key is taken the new values of the other columns."""
    build = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = build(table)
    keys = [column.name for column in table.primary_key]
    others = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=others)


def unlogged(connection: Connection, **values: str) -> dict[str, ColumnElement[str]]:
    """The values, for statements of this transaction that shall not hold them.

    A statement that fails or is slow stands in PostgreSQL's log, with whatever was bound to it. So
    the values go there alone, in a statement of no table, which no lock, trigger or constraint can
    stop, as settings of the transaction. SQLite has no log: there they are bound as usual.
    """
    if connection.dialect.name == "sqlite":
        return {name: literal(value, String()) for name, value in values.items()}
    names = {name: f"usermgr.{name}" for name in values}
    connection.execute(
        select(*(func.set_config(names[name], value, true()) for name, value in values.items()))
    )
    return {name: func.current_setting(setting, type_=String()) for name, setting in names.items()}


def own_ids(connection: Connection) -> str:
    """What stands before VALUES or SELECT in an INSERT that says the ids itself."""
    return "OVERRIDING SYSTEM VALUE" if connection.dialect.name == "postgresql" else ""


def insert_with_id(connection: Connection, table: Table, values: dict[str, Any]) -> TextClause:
    """An INSERT of one row that says the id itself."""
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    statement = f"INSERT INTO {table.name} ({names}) {own_ids(connection)} VALUES ({places})"
    return text(statement).bindparams(**values)


def in_ids(column: ColumnElement[int], ids: Iterable[int]) -> ColumnElement[bool]:
    """Whether the column is one of the ids. They are written into the statement: SQLite limits the
    number of its parameters."""
    return column.in_(bindparam(None, list(ids), expanding=True, literal_execute=True))


def numbered(connection: Connection, texts: Sequence[str]) -> Subquery:
    """The texts as a table of ``place``, counted from 0, and ``text``; one parameter holds any
    number of them."""
    packed = literal(json.dumps(texts, ensure_ascii=False), String())
    if connection.dialect.name == "sqlite":
        rows = func.json_each(packed).table_valued("key", "value", name="texts")
        return select(rows.c.key.label("place"), rows.c.value.label("text")).subquery()
    elements = func.json_array_elements_text(cast(packed, JSON))
    rows = elements.table_valued("value", with_ordinality="place", name="texts").render_derived()
    return select((rows.c.place - 1).label("place"), rows.c.value.label("text")).subquery()


class instant_text(GenericFunction[str]):  # noqa: N801 - as above
    """An instant as RFC 3339 text in UTC with microseconds."""

    type = String()
    inherit_cache = True


@compiles(instant_text)
def _instant_text(element: instant_text, compiler: SQLCompiler, **kw: Any) -> str:
    value = compiler.process(element.clauses, **kw)
    return f"""to_char({value} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


_STORED_INSTANT: Final = "0000-00-00 00:00:00.000000".replace("0", "[0-9]")


@compiles(instant_text, "sqlite")
def _instant_text_sqlite(element: instant_text, compiler: SQLCompiler, **kw: Any) -> str:
    value = compiler.process(element.clauses, **kw)
    # Other clients may have written an instant in another way, or something that is none.
    return (
        f"CASE WHEN {value} GLOB '{_STORED_INSTANT}' THEN replace({value}, ' ', 'T') || 'Z'"
        f" ELSE usermgr_instant_text({value}) END"
    )


class joined(GenericFunction[str]):  # noqa: N801 - as above
    """The aggregated texts with U+001F between them, in no particular order."""

    type = String()
    inherit_cache = True


@compiles(joined)
def _joined(element: joined, compiler: SQLCompiler, **kw: Any) -> str:
    return f"string_agg({compiler.process(element.clauses, **kw)}, chr(31))"


@compiles(joined, "sqlite")
def _joined_sqlite(element: joined, compiler: SQLCompiler, **kw: Any) -> str:
    return f"group_concat({compiler.process(element.clauses, **kw)}, char(31))"


class escaped_list(GenericFunction[str]):  # noqa: N801 - as above
    """On PostgreSQL: the aggregated texts as ``formats.writers.cell`` writes a sorted list."""

    type = String()
    inherit_cache = True


@compiles(escaped_list)
def _escaped_list(element: escaped_list, compiler: SQLCompiler, **kw: Any) -> str:
    value = compiler.process(element.clauses, **kw)
    escaped = f"replace(replace({value}, chr(92), repeat(chr(92), 2)), ';', chr(92) || ';')"
    return f"""string_agg({escaped}, ';' ORDER BY {value} COLLATE "C")"""
