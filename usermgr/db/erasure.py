"""What a database does beside deleting, where a person is to be forgotten."""

from __future__ import annotations

from sqlalchemy import Connection


def overwrite_what_is_deleted(connection: Connection) -> None:
    """Let SQLite write zeros over what this connection deletes and replaces from now on.

    Copies that earlier commands left in free space stay until VACUUM, as dead rows do on
    PostgreSQL.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
