"""Differences between a database and the models, in words.

Alembic compares tables, columns, indexes, unique constraints and foreign keys; what it leaves out
is compared here: primary keys, checks, collations, indexes over expressions on SQLite, triggers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import (
    CheckConstraint,
    Connection,
    Identity,
    MetaData,
    Table,
    TypeDecorator,
    inspect,
    text,
)
from sqlalchemy.engine import Inspector

from usermgr.db.models import metadata
from usermgr.db.triggers import find_trigger_differences
from usermgr.records import Difference

_WORDS: Final = {
    "add_table": "there is no table {0.name}",
    "add_column": "there is no column {1}.{2.name}",
    "remove_column": "there is a column {1}.{2.name} that this program does not know",
    "add_index": "there is no index {0.name} of {0.table.name}",
    "remove_index": "there is an index {0.name} of {0.table.name} that this program does not know",
    "add_constraint": "there is no constraint {0.name} of {0.table.name}",
    "remove_constraint": "there is a constraint {0.name} of {0.table.name} "
    "that this program does not know",
    "add_fk": "there is no foreign key {0.name} of {0.table.name}",
    "remove_fk": "there is a foreign key {0.name} of {0.table.name} "
    "that this program does not know",
    "modify_type": "{1}.{2} is of the type {4}, not {5}",
    "modify_nullable": "{1}.{2} may not be empty, or may be, unlike in this program",
    "modify_default": "{1}.{2} has another default or identity than in this program",
}
"""Alembic's names of what would have to be done, in words about what is."""


def comparable(dialect: str) -> MetaData:
    """The models as the database shows them: on SQLite no foreign key says what deleting does."""
    if dialect != "sqlite":
        return metadata
    copy = MetaData()
    for table in metadata.sorted_tables:
        for key in table.to_metadata(copy).foreign_key_constraints:
            key.ondelete = None
    return copy


def describe_differences(found: Iterable[Any], *, sqlite: bool) -> list[Difference]:
    """What Alembic's comparison found, in words. Comments may say what they like."""
    actions = [
        action for entry in found for action in (entry if isinstance(entry, list) else [entry])
    ]
    return [
        Difference(_WORDS[name].format(*values), _is_addition(name, values))
        for name, *values in actions
        if "comment" not in name and not (sqlite and _is_identity(name, values))
    ]


def _is_addition(name: str, values: list[Any]) -> bool:
    """Whether somebody added what this program can live with: it names its columns itself, and
    tells which constraint refused a row. It cannot fill a column that must not be empty."""
    if name == "remove_column":
        return values[-1].nullable or values[-1].server_default is not None
    if name == "modify_default":
        return values[-1] is None
    return name in ("remove_index", "remove_constraint", "remove_fk")


def _is_identity(name: str, values: list[Any]) -> bool:
    """SQLite has no identity columns: AUTOINCREMENT does their work, unseen by Alembic."""
    return name == "modify_default" and isinstance(values[-1], Identity)


def find_other_differences(connection: Connection) -> list[Difference]:
    """The differences in what Alembic does not compare, in words."""
    inspector = inspect(connection)
    dialect = connection.dialect.name
    found = [
        difference
        for table in metadata.sorted_tables
        if inspector.has_table(table.name)
        for difference in _compare_table(inspector, table)
    ]
    if dialect == "postgresql":
        found += _compare_collations(inspector)
    else:
        found += _compare_sqlite_texts(connection)
    return [Difference(words) for words in found + find_trigger_differences(connection)]


def _compare_table(inspector: Inspector, table: Table) -> Iterator[str]:
    key = inspector.get_pk_constraint(table.name)["constrained_columns"]
    if key != [column.name for column in table.primary_key]:
        yield f"{table.name} has the primary key ({', '.join(key)})"
    wanted = {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)}
    present = {check["name"] for check in inspector.get_check_constraints(table.name)}
    for name in sorted(wanted - present):
        yield f"there is no check {name} of {table.name}"


def _compare_collations(inspector: Inspector) -> Iterator[str]:
    dialect = inspector.dialect
    for table in metadata.sorted_tables:
        if not inspector.has_table(table.name):
            continue
        present = {column["name"]: column["type"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if isinstance(column.type, TypeDecorator):
                continue
            wanted = getattr(column.type.dialect_impl(dialect), "collation", None)
            found = getattr(present.get(column.name), "collation", wanted)
            if found != wanted:
                yield f"{table.name}.{column.name} has the collation {found or 'default'}"


def _compare_sqlite_texts(connection: Connection) -> Iterator[str]:
    """What SQLite tells only in the text that made it: counters, and indexes over expressions."""
    rows = connection.execute(text("SELECT name, lower(sql) AS sql FROM sqlite_master"))
    texts: dict[str, str] = {row.name: row.sql or "" for row in rows}
    for table in metadata.sorted_tables:
        counted = bool(table.dialect_options["sqlite"]["autoincrement"])
        if table.name in texts and counted and "autoincrement" not in texts[table.name]:
            yield f"{table.name}.id is not counted by AUTOINCREMENT"
    for table_name in ("roles", "claims"):
        name = f"{table_name}_description_un"
        wanted = f"create unique index {name} on {table_name} (lower(description))"
        if texts.get(name) != wanted:
            yield f"there is no unique index {name} over lower(description)"
