"""Database: connections, transactions and the operation that every write belongs to.

PostgreSQL: everything a transaction needs (timeouts, schema, read-only) is set by its first
statement, inside the transaction, so that it also works through PgBouncer in transaction mode.
The same statement reads the schema's revision and reserves the operation's id. SQLite: foreign
keys on, a busy timeout, ``BEGIN IMMEDIATE`` for writes.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, NestedTransaction, TextClause, insert, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from usermgr.config import Settings
from usermgr.db.connections import (
    Pool,
    make_engine,
    quoted,
    quoted_schema,
    stale_schema,
    unmanaged_tables,
    unreadable_values,
)
from usermgr.db.errors import SchemaMissing, lost_connection, translate
from usermgr.db.models import HEAD_REVISION, VERSION_TABLE, changes, operations
from usermgr.db.recycling import sweep_if_due
from usermgr.db.savepoints import savepoint
from usermgr.errors import Unavailable, UserMgrError
from usermgr.urls import describe_database

Clock = Callable[[], datetime]

_UNKNOWN = "it is unknown whether the change was stored"


def utcnow() -> datetime:
    """The present instant, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Operation:
    """One command or request that writes: its transaction, its actor and what it changed.

    ``id`` is reserved when the transaction opens; the row is written just before the commit, and
    only if something changed, so that a visible operation is always a finished one. ``recycled``
    says whether something was put into the recycle bin, which keeps it for ``retention``.
    """

    connection: Connection
    id: int
    command: str
    actor: str
    source: str
    started_at: datetime
    outcome: str = "ok"
    counts: dict[str, int] = field(default_factory=dict)
    undoes: int | None = None
    retention: timedelta = timedelta(days=30)
    recycled: bool = False
    _changes: list[dict[str, Any]] = field(default_factory=list)

    def record(
        self,
        entity: str,
        entity_id: int,
        name: str,
        action: str,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
    ) -> None:
        """Note one changed thing with its images before and after; they must hold no secret."""
        self._changes.append(
            {
                "operation_id": self.id,
                "entity": entity,
                "entity_id": entity_id,
                "name": name,
                "action": action,
                "before": before,
                "after": after,
            }
        )
        self.count(f"{entity}.{action}")

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[NestedTransaction]:
        """Undo what the block does, and forget what it noted here, when it ends with an error."""
        noted, counts = len(self._changes), dict(self.counts)
        try:
            with savepoint(self.connection) as point:
                yield point
        except BaseException:
            del self._changes[noted:]
            self.counts = counts
            raise

    def count(self, what: str, number: int = 1) -> None:
        """Add to one of the operation's counts."""
        if number:
            self.counts[what] = self.counts.get(what, 0) + number

    def finish(self, finished_at: datetime) -> None:
        """Write the changes and the operation's own row, if anything changed.

        What the recycle bin has kept for longer than the retention time goes, where the operation
        put something into it.
        """
        if self.recycled:
            sweep_if_due(self.connection, self.started_at - self.retention)
        if not self.counts:
            return
        statement = insert(operations).values(
            id=self.id,
            command=self.command,
            actor=self.actor,
            source=self.source,
            started_at=self.started_at,
            finished_at=finished_at,
            outcome=self.outcome,
            counts=self.counts,
            undoes=self.undoes,
        )
        if len(self._changes) == 1 and self.connection.dialect.name == "postgresql":
            # One round trip where one thing changed, as by nearly every command.
            statement = statement.add_cte(insert(changes).values(self._changes[0]).cte("changed"))
        elif self._changes:
            self.connection.execute(insert(changes), self._changes)
        self.connection.execute(statement)


class Database:
    """One database: opens transactions for reading and for writing, and translates its errors."""

    def __init__(
        self, settings: Settings, *, clock: Clock = utcnow, pool: Pool | None = None
    ) -> None:
        self.settings = settings
        self.url = settings.database_url
        self.description = describe_database(self.url, settings.libpq)
        self.is_sqlite = self.url.startswith("sqlite:")
        self._clock = clock
        self._pool = pool
        self._engine: Engine | None = None
        self.stored: int | None = None
        """The operation that was committed last, here, if one was."""
        self.outcome_is_unknown = False
        """Whether a commit got no answer."""

    @property
    def engine(self) -> Engine:
        """The engine; made at first use, without connecting."""
        if self._engine is None:
            self._engine = make_engine(self.settings, self._pool)
        return self._engine

    def kept_connections(self) -> tuple[int, int]:
        """How many of the connections that are kept work, and how many wait for work."""
        pool = self.engine.pool
        return (pool.checkedout(), pool.checkedin()) if isinstance(pool, QueuePool) else (0, 0)

    def close(self) -> None:
        """Close the connections that are kept."""
        if self._engine is not None:
            self._engine.dispose()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only transaction on a schema that is checked to be the current one."""
        with self.errors(), self.connect() as connection:
            self._open(connection, write=False)
            yield connection

    @contextlib.contextmanager
    def operation(
        self, command: str, actor: str, *, source: str = "cli", dry_run: bool = False
    ) -> Iterator[Operation]:
        """A transaction that changes something; it commits when the block ends without an error.

        A ``dry_run`` does everything and is rolled back.

        Raises Unavailable when the schema is missing or another than this program's, when the
        database fails, and when the connection is lost or Ctrl-C is pressed during the commit, in
        which case the outcome is unknown and the message says how to look.
        """
        with self.errors(), self.connect() as connection:
            operation_id = self._open(connection, write=True)
            op = Operation(
                connection,
                operation_id,
                command,
                actor,
                source,
                self._clock(),
                retention=timedelta(days=self.settings.retention_days),
            )
            yield op
            op.finish(self._clock())
            if not dry_run:
                self.commit(connection, look=f"look for it with: usermgr operation show {op.id}")
                self.stored = op.id if op.counts else None

    @contextlib.contextmanager
    def write(self, *, look: str) -> Iterator[tuple[Connection, datetime]]:
        """A transaction that writes what is no change of users, roles or claims: no operation.

        Yields the time it began, too. ``look`` says how to see what became of it when the commit
        had no answer. Raises what ``operation`` raises.
        """
        with self.errors(), self.connect() as connection:
            self._open(connection, write=True, reserve=False)
            yield connection, self._clock()
            self.commit(connection, look=look)

    @contextlib.contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection without any set-up of the transaction; rolled back when it is left."""
        with self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Translate the errors of the driver that the block raises into ours."""
        try:
            yield
        except SQLAlchemyError as error:
            translated = translate(error, self.description)
            if isinstance(translated, SchemaMissing):
                translated = self._schema_error()
            elif translated is error and self.is_sqlite:
                translated = self._unreadable() or error
            if translated is error:
                raise
            raise translated from error
        except (TypeError, ValueError, OverflowError) as error:
            # Raised by the driver and by SQLAlchemy's types for values that they do not expect.
            unreadable = self._unreadable()
            if unreadable is None:
                raise
            raise unreadable from error

    def _open(self, connection: Connection, *, write: bool, reserve: bool = True) -> int:
        if self.is_sqlite:
            return self._open_sqlite(connection, write=write)
        parameters = self.transaction_settings()
        if not write:
            parameters["transaction_read_only"] = "on"
        prefix = quoted_schema(self.settings.db_schema)
        columns = [f"set_config('{name}', :{name}, true)" for name in parameters]
        columns.append(f"(SELECT version_num FROM {prefix}{VERSION_TABLE}) AS revision")
        reserve = write and reserve
        if reserve:
            columns.append(f"nextval('{prefix}operations_id_seq') AS operation_id")
        row = connection.execute(_statement(f"SELECT {', '.join(columns)}"), parameters).one()
        self._require_head(row.revision)
        return row.operation_id if reserve else 0

    def _open_sqlite(self, connection: Connection, *, write: bool) -> int:
        if not write:
            connection.exec_driver_sql("BEGIN")
            looking = _statement(f"SELECT version_num FROM {VERSION_TABLE}")
            revision = connection.execute(looking).scalar()
            self._require_head(revision)
            return 0
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        row = connection.execute(
            _statement(
                f"SELECT (SELECT version_num FROM {VERSION_TABLE}) AS revision,"
                " (SELECT coalesce(max(id), 0) + 1 FROM operations) AS operation_id"
            )
        ).one()
        self._require_head(row.revision)
        return int(row.operation_id)

    def transaction_settings(self) -> dict[str, str]:
        """The PostgreSQL settings of every transaction, by their names."""
        parameters = {
            "statement_timeout": f"{self.settings.statement_timeout * 1000:.0f}",
            "lock_timeout": f"{self.settings.lock_timeout * 1000:.0f}",
            # An instant at the end of the years that Python knows may lie beyond them elsewhere.
            "TimeZone": "UTC",
        }
        if self.settings.db_schema:
            parameters["search_path"] = quoted(self.settings.db_schema)
        return parameters

    def _require_head(self, revision: str | None) -> None:
        if revision != HEAD_REVISION:
            raise stale_schema(self.description, revision, schema=self.settings.db_schema)

    def _schema_error(self) -> Unavailable:
        with self.connect() as connection:
            revision = current_revision(self, connection)
            if revision is None and _has_users_table(self, connection):
                return unmanaged_tables(self.description)
            return stale_schema(self.description, revision, schema=self.settings.db_schema)

    def _unreadable(self) -> Unavailable | None:
        """The error of values that other programs stored and that cannot be read, if any are."""
        from usermgr.db.unreadable import find_unreadable

        with contextlib.suppress(SQLAlchemyError, UserMgrError), self.connect() as connection:
            self._open(connection, write=False)
            if found := find_unreadable(connection):
                return unreadable_values(self.description, found)
        return None

    def commit(self, connection: Connection, *, look: str) -> None:
        """Commit. ``look`` says how to see what became of it when there was no answer."""
        try:
            connection.commit()
        except KeyboardInterrupt as interrupt:
            self.outcome_is_unknown = True
            what = f'the commit to "{self.description}" was interrupted'
            raise Unavailable(f"{what}: {_UNKNOWN}", hint=look) from interrupt
        except SQLAlchemyError as error:
            if not lost_connection(error):
                raise
            self.outcome_is_unknown = True
            what = f'the connection to "{self.description}" was lost during the commit'
            raise Unavailable(f"{what}: {_UNKNOWN}", hint=look) from error


@functools.cache
def _statement(sql: str) -> TextClause:
    """A statement that every transaction begins with, read once."""
    return text(sql)


def _has_users_table(database: Database, connection: Connection) -> bool:
    if database.is_sqlite:
        named = text("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'users'")
        return bool(connection.execute(named).scalar())
    name = quoted_schema(database.settings.db_schema) + "users"
    found = connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar()
    return found is not None


def current_revision(database: Database, connection: Connection) -> str | None:
    """The revision stamped in the database, None without one. Works on any database."""
    if database.is_sqlite:
        found = connection.execute(
            text("SELECT count(*) FROM sqlite_master WHERE name = :name"), {"name": VERSION_TABLE}
        ).scalar()
    else:
        name = quoted_schema(database.settings.db_schema) + VERSION_TABLE
        found = connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar()
    if not found:
        return None
    prefix = "" if database.is_sqlite else quoted_schema(database.settings.db_schema)
    return connection.execute(text(f"SELECT version_num FROM {prefix}{VERSION_TABLE}")).scalar()
