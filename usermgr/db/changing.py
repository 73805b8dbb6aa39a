"""Changes of many users in one operation, set by set, with their images in the history.

The users are those of a temporary table, which the caller fills and names. The statements are few,
however many users there are:

    lock(op, selected)                     nobody else changes these users any more
    with recorded(op, selected, action):   images before and after, and the changes
        ...                                the caller's own statements, and touch(op, selected)

    remove(op, selected)                   deletes users, into the recycle bin
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import bindparam, text

from usermgr.db.engine import Operation
from usermgr.db.images import counts_sql, image_sql, salt_sql
from usermgr.db.models import Instant
from usermgr.db.waiting import GRACE_SECONDS
from usermgr.names import MAX_ID

SECONDS_PER_USER: Final = 0.001
"""Ten times what the slowest statement takes on a small machine that has nothing else to do."""

BYTES_PER_USER: Final = 64
"""What a hash of ids takes in PostgreSQL's memory, and an entry in an index of SQLite."""

PORTION: Final = 50_000
"""How many users are deleted at once."""

MAX_BYTES: Final = 64 * 1024 * 1024
"""The memory for one hash or sort, or for SQLite's pages; more is done in several steps."""

BEFORE: Final = "usermgr_before"
_ON_COMMIT: Final = {"postgresql": "ON COMMIT DROP", "sqlite": ""}
_USER_COLUMNS: Final = (
    "id, name, email, password, role_id, created_at, updated_at, active, version, created_in"
)


def select_into(op: Operation, name: str, select: str, parameters: dict[str, object]) -> int:
    """Make the temporary table ``name`` of what a SELECT finds; returns the number of rows."""
    dialect = op.connection.dialect.name
    op.connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
    created = op.connection.execute(
        text(f"CREATE TEMPORARY TABLE {name} {_ON_COMMIT[dialect]} AS {select}"), parameters
    )
    if dialect == "postgresql":
        op.connection.execute(text(f"ANALYZE {name}"))
        return created.rowcount
    number: int = op.connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
    return number


_MORE_MEMORY: Final = text("""
    SELECT set_config('work_mem', CAST(:bytes / 1024 AS text), true)
    WHERE pg_size_bytes(current_setting('work_mem')) < :bytes
""")


@contextlib.contextmanager
def _pages_kept(op: Operation, memory: int) -> Iterator[None]:
    """Let SQLite keep pages in memory: it writes those of an index again and again otherwise."""
    # Negative sizes are in KiB, others in pages.
    before: int = op.connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    if before > 0 or memory <= -before * 1024:  # Somebody knows better, or it is enough.
        yield
        return
    op.connection.exec_driver_sql(f"PRAGMA cache_size = -{memory // 1024}")
    try:
        yield
    finally:
        op.connection.exec_driver_sql(f"PRAGMA cache_size = {before}")


@contextlib.contextmanager
def room_for(op: Operation, users: int) -> Iterator[None]:
    """Let each statement of the block take a millisecond longer for every user, and as much of the
    database's memory as their ids need.

    The server's limit and the client's are for statements about one thing; they stay for whoever
    has none. PostgreSQL's limit and memory hold until the transaction ends.
    """
    memory = min(users * BYTES_PER_USER, MAX_BYTES)
    if op.connection.dialect.name == "sqlite":
        with _pages_kept(op, memory):
            yield
        return
    op.connection.execute(_MORE_MEMORY, {"bytes": memory})
    driver: Any = op.connection.connection.dbapi_connection
    patience = getattr(driver, "patience", None)
    if patience is None:
        yield
        return
    more = users * SECONDS_PER_USER
    limit = (patience - GRACE_SECONDS + more) * 1000
    op.connection.execute(text(f"SET LOCAL statement_timeout = {limit:.0f}"))
    driver.patience = patience + more
    try:
        yield
    finally:
        driver.patience = patience


def lock(op: Operation, selected: str) -> None:
    """Lock the users, in the order of their ids; those that are gone are none of the table's any
    more. SQLite locks everything from the beginning."""
    if op.connection.dialect.name == "postgresql":
        op.connection.execute(
            text(
                "SELECT count(*) FROM (SELECT 1 FROM users u WHERE u.id IN"
                f" (SELECT user_id FROM {selected}) ORDER BY u.id FOR UPDATE) locked"
            )
        )
    op.connection.execute(
        text(
            f"DELETE FROM {selected} WHERE NOT EXISTS"
            f" (SELECT 1 FROM users u WHERE u.id = {selected}.user_id)"
        )
    )


@contextlib.contextmanager
def recorded(op: Operation, selected: str, action: str) -> Iterator[None]:
    """Record what the block does to the users, each under the e-mail that it had before."""
    dialect = op.connection.dialect.name
    source = f"FROM {selected} s JOIN users u ON u.id = s.user_id JOIN roles r ON r.id = u.role_id"
    image = image_sql(dialect)
    select_into(op, BEFORE, f"SELECT u.id AS user_id, u.email, {image} AS image {source}", {})
    yield
    op.connection.execute(
        text(f"""
            INSERT INTO changes
                (operation_id, entity, entity_id, name, action, "before", "after", salt)
            SELECT :operation, 'user', u.id, b.email, :action, b.image, {image}, {salt_sql(dialect)}
            {source} JOIN {BEFORE} b ON b.user_id = u.id ORDER BY u.id
        """),
        {"operation": op.id, "action": action},
    )


def touch(op: Operation, selected: str, assignments: str = "", **values: object) -> int:
    """Set columns of the users (``active = :active``), and count their versions up."""
    columns = f"{assignments}, " if assignments else ""
    statement = text(f"""
        UPDATE users SET {columns}version = version + 1, updated_at = :now
        WHERE id IN (SELECT user_id FROM {selected})
    """).bindparams(bindparam("now", op.started_at, Instant()))
    return op.connection.execute(statement, values).rowcount


def remove(op: Operation, selected: str, *, record: bool = True) -> int:
    """Delete the users with their grants; the recycle bin keeps them. Returns their number.

    Without ``record`` the bin alone tells of it, as ``created_in`` alone tells of many creations.
    What is raised where an application's table refers to one is the driver's IntegrityError.
    """
    return sum(_remove(op, these, record) for these in _portions(op, selected))


def _portions(op: Operation, selected: str) -> Iterator[str]:
    """Conditions for a column of ids (``{}``), each true for so many users of the table that they
    stay in memory between the statements."""
    firsts = op.connection.execute(
        text(f"""
            SELECT user_id FROM (SELECT user_id, row_number() OVER (ORDER BY user_id) AS number
            FROM {selected}) numbered WHERE number % {PORTION} = 1 ORDER BY user_id
        """)
    ).scalars()
    bounds = [*firsts, MAX_ID + 1]
    if len(bounds) > 2:
        op.connection.execute(text(f"CREATE INDEX {selected}_idx ON {selected} (user_id)"))
    for first, following in itertools.pairwise(bounds):
        between = f"BETWEEN {first} AND {following - 1}"
        these = f"SELECT user_id FROM {selected} WHERE user_id {between}"
        yield f"{{0}} {between} AND {{0}} IN ({these})"


def _remove(op: Operation, these: str, record: bool) -> int:
    connection, dialect = op.connection, op.connection.dialect.name
    if record:
        # With the row goes the only sign of which operation created users together.
        image = _with_created_in(dialect)
        connection.execute(
            text(f"""
                INSERT INTO changes
                    (operation_id, entity, entity_id, name, action, "before", salt)
                SELECT :operation, 'user', u.id, u.email, 'delete', {image}, {salt_sql(dialect)}
                FROM users u JOIN roles r ON r.id = u.role_id
                WHERE {these.format("u.id")} ORDER BY u.id
            """),
            {"operation": op.id},
        )
    recycle(op, these)
    connection.execute(text(f"DELETE FROM user_claims WHERE {these.format('user_id')}"))
    return connection.execute(text(f"DELETE FROM users WHERE {these.format('id')}")).rowcount


def recycle(op: Operation, these: str) -> None:
    """Put the users with their grants into the recycle bin, as they are; ``these`` is a condition
    for a column of ids (``{}``).

    In the order of their ids, so that its indexes grow at their ends.
    """
    kept_users = f"""
        INSERT INTO recycled_users (operation_id, {_USER_COLUMNS})
        SELECT :operation, {_USER_COLUMNS} FROM users
        WHERE {these.format("id")} ORDER BY id
    """
    kept_grants = f"""
        INSERT INTO recycled_grants (operation_id, user_id, claim_id, reason, expires_at)
        SELECT :operation, user_id, claim_id, reason, expires_at FROM user_claims
        WHERE {these.format("user_id")} ORDER BY user_id, claim_id
    """
    op.recycled = True
    for statement in (kept_users, kept_grants):
        op.connection.execute(text(statement), {"operation": op.id})


def select_expired(op: Operation, name: str) -> int:
    """Make the table ``name`` of the users who hold grants whose time has run out."""
    counts = counts_sql(op.connection.dialect.name, "user_claims")
    select = f"SELECT DISTINCT user_id FROM user_claims WHERE NOT {counts}"
    return select_into(op, name, select, {})


def delete_expired(op: Operation, selected: str) -> int:
    """Delete those grants of the users; returns their number."""
    counts = counts_sql(op.connection.dialect.name, "user_claims")
    these = f"user_id IN (SELECT user_id FROM {selected})"
    statement = text(f"DELETE FROM user_claims WHERE {these} AND NOT {counts}")
    return op.connection.execute(statement).rowcount


def _with_created_in(dialect: str) -> str:
    if dialect == "sqlite":
        return f"json_set({image_sql(dialect)}, '$.created_in', u.created_in)"
    return f"{image_sql(dialect)} || jsonb_build_object('created_in', u.created_in)"
