"""Engines: how a connection to either database is made and set up."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, QueuePool

from usermgr.config import Settings
from usermgr.db.images import image_content
from usermgr.db.models import HEAD_REVISION, read_instant, stored_instant
from usermgr.errors import InvalidInput, Unavailable
from usermgr.formats.writers import instant
from usermgr.urls import describe_database, sqlite_path

_LONGEST_WAIT: Final = 2_147_483
"""Seconds: what SQLite can count in milliseconds, and 24 days."""


def quoted(identifier: str) -> str:
    """The identifier in double quotes, safe inside any PostgreSQL statement."""
    return '"' + identifier.replace('"', '""') + '"'


def quoted_schema(schema: str | None) -> str:
    """The prefix that puts a name into the schema; empty when the search path decides."""
    return f"{quoted(schema)}." if schema else ""


def stale_schema(
    description: str, revision: str | None, *, schema: str | None = None
) -> Unavailable:
    """The error of a database whose schema is not this program's, naming both revisions.

    ``schema`` is the PostgreSQL schema that the settings name, if they name one; SQLite has none.
    """
    if description.startswith("sqlite:"):
        schema = None
    if revision is None:
        lacks = f'tables in the schema "{schema}"' if schema else "schema"
        return Unavailable(
            f'the database "{description}" has no usermgr {lacks} '
            f"(revision none, this program needs {HEAD_REVISION})",
            hint="create it with: usermgr schema init" + (" --create-schema" if schema else ""),
        )
    where = (f'the schema "{schema}"' if schema else "the schema") + f' of "{description}"'
    if revision == HEAD_REVISION:
        return Unavailable(
            f"{where} is at revision {revision}, but lacks some of its tables or columns",
            hint="see what is missing with: usermgr schema check",
        )
    if revision > HEAD_REVISION:
        return Unavailable(
            f"{where} is at revision {revision}, newer than this program ({HEAD_REVISION})",
            hint="install the newer release of usermgr that made it",
        )
    return Unavailable(
        f"{where} is at revision {revision}, this program needs {HEAD_REVISION}",
        hint="bring it up with: usermgr schema upgrade",
    )


def unmanaged_tables(description: str) -> Unavailable:
    """The error of a database that holds the challenge's tables, not adopted yet."""
    return Unavailable(
        f'the tables of "{description}" are not managed by usermgr yet '
        f"(revision none, this program needs {HEAD_REVISION})",
        hint="adopt them with: usermgr schema init",
    )


def unreadable_values(description: str, found: Sequence[str]) -> Unavailable:
    """The error of values that another program stored and this one cannot read: where they stand,
    but not what they are, for that may be anything."""
    return Unavailable(
        f'"{description}" holds values that cannot be read: {"; ".join(found)}',
        hint="another program stored them: correct them with a SQL client",
        details={"values": list(found)},
    )


class Pool(NamedTuple):
    """Connections that are kept for the next transaction: so many at most, each for one at a time,
    and how many seconds a transaction waits for one. ``grace`` is how much later than the server's
    own limit the client gives up an answer; None means as long as on the command line."""

    size: int
    wait: float
    grace: float | None = None


def make_engine(settings: Settings, pool: Pool | None = None) -> Engine:
    """The engine of the settings' database; nothing is connected yet.

    Without a pool every transaction has a connection of its own. Parameters of statements are
    hidden from error texts: they are personal data and hashes.
    """
    kept: dict[str, Any] = {"poolclass": NullPool}
    if pool is not None:
        kept = {"poolclass": QueuePool, "pool_size": pool.size, "max_overflow": 0}
        # The connection that was used last is the likeliest to be alive, and warm.
        kept |= {"pool_timeout": pool.wait, "pool_use_lifo": True}
    if settings.database_url.startswith("sqlite:"):
        return _sqlite_engine(settings, kept)
    return _postgresql_engine(settings, kept, grace=pool.grace if pool else None)


def _postgresql_engine(settings: Settings, kept: dict[str, Any], *, grace: float | None) -> Engine:
    # psycopg2 swallows the Ctrl-C that comes while it is loaded.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        from usermgr.db import waiting
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    arguments: dict[str, Any] = {
        "application_name": "usermgr",
        "client_encoding": "utf8",
        "connection_factory": waiting.connection_class(settings.connect_timeout),
        # A network that falls silent is noticed by the kernel within half a minute.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 4,
        "tcp_user_timeout": 30_000,
    }
    arguments |= settings.libpq
    # In another encoding some texts could be neither sent nor read.
    in_url = _connection_keywords(settings.database_url) - {"client_encoding"}
    arguments = {key: value for key, value in arguments.items() if key not in in_url}
    try:
        engine = create_engine(
            settings.database_url,
            **kept,
            connect_args=arguments,
            # Part of BEGIN. Who has waited for another command, or migration, must see what that
            # one has committed; with another default of the server it would end with an error.
            isolation_level="READ COMMITTED",
            use_native_hstore=False,
            hide_parameters=True,
        )
    except ArgumentError as error:
        raise InvalidInput(
            "the hosts and ports that the database URL gives as options do not fit together",
            hint="a port is a number; write ?host=a,b&port=1,2 for several hosts",
        ) from error
    waiting.install()

    @event.listens_for(engine, "connect")
    def allow(connection: Any, _record: object) -> None:
        waiting.allow(connection, settings.statement_timeout, grace=grace)

    return engine


def _connection_keywords(url: str) -> set[str]:
    parsed = make_url(url)
    parts = {
        "user": parsed.username,
        "password": parsed.password,
        "host": parsed.host,
        "port": parsed.port,
        "dbname": parsed.database,
    }
    return {key for key, value in parts.items() if value} | set(parsed.query)


def _sqlite_engine(settings: Settings, kept: dict[str, Any]) -> Engine:
    # SQLAlchemy would decode a "%20" in the text of a URL; the path is meant as it is written.
    file = sqlite_path(settings.database_url).absolute()
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        **kept,
        # A connection that is kept goes from one thread to another, but is used by one at a time.
        connect_args={
            "timeout": settings.lock_timeout or _LONGEST_WAIT,
            "check_same_thread": False,
        },
        hide_parameters=True,
    )

    @event.listens_for(engine, "do_connect")
    def refuse_to_create(*_: object) -> None:
        """SQLite would create a missing file: a typing error in a path must not do that."""
        path = sqlite_path(settings.database_url)
        if not path.parent.is_dir():
            raise Unavailable(
                f'the folder of the database file "{path}" does not exist',
                hint="check the path in the database URL, or make the folder",
            )
        if not path.exists():
            raise stale_schema(describe_database(settings.database_url), None)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own transaction control is off: BEGIN is ours.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.create_function("usermgr_lower", 1, _lower, deterministic=True)
        connection.create_function("usermgr_instant", 1, _instant, deterministic=True)
        connection.create_function("usermgr_instant_text", 1, _instant_text, deterministic=True)
        connection.create_function("usermgr_content", 1, image_content, deterministic=True)

    @event.listens_for(engine, "checkin")
    def forget(connection: sqlite3.Connection | None, record: Any) -> None:
        """PostgreSQL drops temporary tables with the transaction; here they would stay."""
        if connection is None or kept["poolclass"] is NullPool:
            return
        named = "SELECT name FROM sqlite_temp_master WHERE type = 'table'"
        try:
            for (name,) in connection.execute(named).fetchall():
                connection.execute(f"DROP TABLE temp.{quoted(name)}")
        except sqlite3.Error:  # As on a full disk. The next transaction gets another connection.
            record.invalidate()

    return engine


def _lower(value: str | None) -> str | None:
    return None if value is None else value.lower()


def _instant(value: str | None) -> str | None:
    """The instant as this program stores it; what is none stays as it is."""
    try:
        return None if value is None else stored_instant(read_instant(value))
    except (TypeError, ValueError, OverflowError):
        return value


def _instant_text(value: str | None) -> str | None:
    """The instant as RFC 3339 text; what is none is an error of the statement."""
    return None if value is None else instant(read_instant(value))
