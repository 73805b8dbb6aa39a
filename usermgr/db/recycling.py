"""The recycle bin forgets what operations before a moment put into it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, text

from usermgr.db.models import Instant

_ROWS: Final = (
    "recycled_grants WHERE",
    "recycled_users WHERE restored_in IS NOT NULL AND",
    "recycled_users WHERE",
    "recycled_passwords WHERE",
)

_OLDEST: Final = """
    SELECT count(*) FROM operations WHERE started_at < :before AND id IN (
        SELECT min(operation_id) FROM recycled_users UNION ALL
        SELECT min(operation_id) FROM recycled_passwords)
"""


def count_deleted(connection: Connection, before: datetime | None = None) -> int:
    """How many users can be brought back, or of those how many were deleted before a moment."""
    statement = text("SELECT count(*) FROM recycled_users WHERE restored_in IS NULL")
    if before is not None:
        statement = text(
            f"{statement.text} AND operation_id IN"
            " (SELECT id FROM operations WHERE started_at < :before)"
        ).bindparams(bindparam("before", before, Instant()))
    number: int = connection.execute(statement).scalar_one()
    return number


def sweep(connection: Connection, before: datetime) -> dict[str, int]:
    """Remove for good what was put in before that moment; returns the numbers of rows by table.

    Users who have come back are removed as well, and not counted.
    """
    removed = {}
    for rows in _ROWS:
        statement = text(
            f"DELETE FROM {rows} operation_id IN"
            " (SELECT id FROM operations WHERE started_at < :before)"
        ).bindparams(bindparam("before", before, Instant()))
        removed[rows.partition(" ")[0]] = connection.execute(statement).rowcount
    return removed


def sweep_if_due(connection: Connection, before: datetime) -> None:
    """The same where the oldest things of the bin are from before; else one cheap statement."""
    oldest = text(_OLDEST).bindparams(bindparam("before", before, Instant()))
    if connection.execute(oldest).scalar_one():
        sweep(connection, before)
