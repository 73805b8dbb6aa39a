"""Whom a bulk verb means: temporary tables of users, filled and looked at set by set.

``selected`` has the users that will change; ``changing`` works on it by its name. ``named`` has the
ids and e-mails of a list, with the line that each stands on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    String,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.schema import CreateTable

from usermgr.db.bulk import load_rows, takes_copy
from usermgr.db.models import BinaryText, users
from usermgr.formats.copytext import Column as Values
from usermgr.formats.copytext import copy_text

_metadata = MetaData()
_OPTIONS: Final[dict[str, Any]] = {"prefixes": ["TEMPORARY"], "postgresql_on_commit": "DROP"}

selected = Table(
    "usermgr_selected", _metadata, Column("user_id", BigInteger, nullable=False), **_OPTIONS
)
named = Table(
    "usermgr_named",
    _metadata,
    Column("line", BigInteger, nullable=False),
    Column("reference", String, nullable=False),
    Column("user_id", BigInteger),
    Column("email", BinaryText),
    **_OPTIONS,
)


def is_selected() -> ColumnElement[bool]:
    """Whether a row of ``users`` is one of those that will change."""
    return users.c.id.in_(select(selected.c.user_id))


def is_named() -> ColumnElement[bool]:
    """Whether a row of ``users`` is one of those that were named."""
    return users.c.id.in_(select(named.c.user_id))


def create(connection: Connection) -> None:
    """Create the empty tables."""
    for table in (selected, named):
        connection.execute(CreateTable(table))


def add_named(
    connection: Connection, rows: Sequence[tuple[int, str, int | None, str | None]]
) -> None:
    """Add (line, reference, id, e-mail): one of the last two, the other is None."""
    columns: list[Values] = [list(column) for column in zip(*rows, strict=True)]
    names = [column.name for column in named.c]
    content = copy_text(columns) if takes_copy(connection) else columns
    load_rows(connection, named.name, names, content)


def find_named(connection: Connection) -> None:
    """Find the ids of the users that are named by e-mail."""
    _analyze(connection, named)
    its_id = select(users.c.id).where(users.c.email == named.c.email).scalar_subquery()
    connection.execute(update(named).where(named.c.email.is_not(None)).values(user_id=its_id))


def find_unknown(connection: Connection, limit: int) -> tuple[int, list[tuple[int, str]]]:
    """How many lines name nobody, or somebody who has another e-mail by now; the first of them."""
    same = and_(
        users.c.id == named.c.user_id,
        or_(named.c.email.is_(None), users.c.email == named.c.email),
    )
    unknown = select(named.c.line, named.c.reference).where(
        ~select(users.c.id).where(same).correlate(named).exists()
    )
    number = connection.execute(select(func.count()).select_from(unknown.subquery())).scalar_one()
    if not number:
        return 0, []
    first = connection.execute(unknown.order_by(named.c.line).limit(limit))
    return number, [(row.line, row.reference) for row in first]


def select_users(connection: Connection, condition: ColumnElement[bool]) -> None:
    """Select the users that meet the condition."""
    found = select(users.c.id).where(condition)
    connection.execute(insert(selected).from_select(["user_id"], found))
    _analyze(connection, selected)


def keep_matching(connection: Connection, condition: ColumnElement[bool]) -> int:
    """Drop those that no longer meet the condition; returns how many are left.

    Once they are locked, somebody else may have changed them. On SQLite nobody can.
    """
    if connection.dialect.name != "sqlite":
        still = select(users.c.id).where(users.c.id == selected.c.user_id, condition)
        connection.execute(delete(selected).where(~still.correlate(selected).exists()))
    number: int = connection.execute(select(func.count()).select_from(selected)).scalar_one()
    return number


def count_users(connection: Connection, condition: ColumnElement[bool]) -> int:
    """How many users meet the condition."""
    number: int = connection.execute(
        select(func.count()).select_from(users).where(condition)
    ).scalar_one()
    return number


def _analyze(connection: Connection, table: Table) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"ANALYZE {table.name}"))
