"""The recycle bin forgets what operations before a moment put into it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, text

from usermgr.db.models import Instant

TABLES: Final = ("recycled_grants", "recycled_users", "recycled_passwords")

_OLDEST: Final = """
    SELECT count(*) FROM operations WHERE started_at < :before AND id IN (
        SELECT min(operation_id) FROM recycled_users UNION ALL
        SELECT min(operation_id) FROM recycled_passwords)
"""


def sweep(connection: Connection, before: datetime) -> dict[str, int]:
    """Remove for good what was put in before that moment; returns the numbers of rows by table."""
    removed = {}
    for table in TABLES:
        statement = text(
            f"DELETE FROM {table} WHERE operation_id IN"
            " (SELECT id FROM operations WHERE started_at < :before)"
        ).bindparams(bindparam("before", before, Instant()))
        removed[table] = connection.execute(statement).rowcount
    return removed


def sweep_if_due(connection: Connection, before: datetime) -> None:
    """The same where the oldest things of the bin are from before; else one cheap statement."""
    oldest = text(_OLDEST).bindparams(bindparam("before", before, Instant()))
    if connection.execute(oldest).scalar_one():
        sweep(connection, before)
