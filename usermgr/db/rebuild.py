"""Load without keys: indexes and foreign keys are dropped before and built anew after.

PostgreSQL only, in the caller's transaction, under an exclusive lock. Building an index over sorted
rows and checking a foreign key with one join costs a fraction of doing both row by row. What is
dropped and rebuilt comes from the model's metadata; what others have added to the tables stays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import (
    Connection,
    ForeignKeyConstraint,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import AddConstraint, CreateIndex, DropConstraint, DropIndex

from usermgr.db.models import claims, roles, user_claims, users
from usermgr.db.savepoints import savepoint
from usermgr.errors import Forbidden

TABLES = (user_claims, users)
LOCKED = (roles, claims, users, user_claims)
"""Foreign keys are dropped and built with the tables that they point to locked as well: whoever
creates a role in the meantime and then waits for users would be waited for."""

Key = UniqueConstraint | ForeignKeyConstraint | PrimaryKeyConstraint


def is_empty(connection: Connection) -> bool:
    """Whether there is no user yet."""
    return connection.execute(text("SELECT 1 FROM users LIMIT 1")).first() is None


def owns_tables(connection: Connection) -> bool:
    """Whether this database user may drop and build the keys of the tables."""
    if connection.dialect.name == "sqlite":
        return False
    oids = ", ".join(f"to_regclass('{table.name}')" for table in LOCKED)
    owner = f"SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class WHERE oid IN ({oids})"
    return bool(connection.execute(text(owner)).scalar())


def lock_exclusively(connection: Connection) -> None:
    """Wait for the tables to be ours alone, no longer than the lock timeout.

    Must come before anything else of the transaction touches them: two that read first and lock
    afterwards would wait for each other.
    """
    connection.execute(text(_lock_statement()))


def lock_empty(connection: Connection) -> bool:
    """Lock the tables if there is no user yet and nobody uses them at this moment."""
    try:
        with savepoint(connection) as point:
            connection.execute(text(f"{_lock_statement()} NOWAIT"))
            if is_empty(connection):
                return True
            point.rollback()
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != "55P03":
            raise
    return False


def _lock_statement() -> str:
    return f"LOCK TABLE {', '.join(table.name for table in LOCKED)} IN ACCESS EXCLUSIVE MODE"


@contextlib.contextmanager
def without_keys(connection: Connection) -> Iterator[None]:
    """Let the block add rows to the locked tables without their indexes and foreign keys.

    They are there again when it ends. Raises IntegrityError when the rows violate one of them, and
    Forbidden when somebody else's key needs one of ours.
    """
    dropped = _drop(connection)
    yield
    # Statements that work on all rows at once take as long as they take.
    for setting in ("statement_timeout", "maintenance_work_mem"):
        value = {"statement_timeout": "0", "maintenance_work_mem": "256MB"}[setting]
        connection.execute(text(f"SET LOCAL {setting} = '{value}'"))
    driver = connection.connection.dbapi_connection
    patience, driver.patience = driver.patience, None  # type: ignore[union-attr]
    try:
        _build(connection, dropped)
    finally:
        driver.patience = patience  # type: ignore[union-attr]


def _drop(connection: Connection) -> list[Key]:
    """Drop the indexes and keys; returns the keys in the order in which they are to be built."""
    dropped = [constraint for table in reversed(TABLES) for constraint in _constraints(table)]
    try:
        with savepoint(connection):
            for constraint in reversed(dropped):
                connection.execute(DropConstraint(constraint, if_exists=True))
            for table in TABLES:
                for index in table.indexes:
                    connection.execute(DropIndex(index, if_exists=True))
    except DBAPIError as error:
        if not _is_needed(error):
            raise
        raise Forbidden(
            "another table's foreign key needs an index that would have to be rebuilt",
            hint="import without --exclusive",
        ) from error
    try:
        with savepoint(connection):
            connection.execute(DropConstraint(users.primary_key, if_exists=True))
    except DBAPIError as error:
        if not _is_needed(error):
            raise
        return dropped  # An application's tables refer to users.
    return [users.primary_key, *dropped]


def _is_needed(error: DBAPIError) -> bool:
    return getattr(error.orig, "pgcode", None) == "2BP01"


def _build(connection: Connection, keys: list[Key]) -> None:
    references = [key for key in keys if isinstance(key, ForeignKeyConstraint)]
    for key in keys:
        if key not in references:
            connection.execute(AddConstraint(key, isolate_from_table=False))
    for table in reversed(TABLES):
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            connection.execute(CreateIndex(index))
    for key in references:
        connection.execute(AddConstraint(key, isolate_from_table=False))


def _constraints(table: Table) -> list[Key]:
    """The keys of the table, but for the primary key of users, which others may need."""
    found = [c for c in table.constraints if isinstance(c, Key) and c is not users.primary_key]
    return sorted(found, key=lambda constraint: str(constraint.name))
