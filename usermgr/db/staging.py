"""Rows that may meet stored ones: staged in temporary tables, then merged by set-based statements.

The statements are the same on both databases but for the few that ``_DIALECT`` holds. Whatever the
merge finds wrong with a row is noted in a table as well, so that it is undone with the rest when
the merge has to begin again. Rows are known by their number; ``line`` is NULL where it is the same.
Temporary tables end with the transaction or the connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    text,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from usermgr.db.changing import recorded
from usermgr.db.engine import Operation
from usermgr.db.errors import EMAIL_UNIQUE, violates
from usermgr.db.images import counts_sql
from usermgr.db.models import BinaryText, Instant
from usermgr.db.savepoints import savepoint
from usermgr.db.sql import own_ids
from usermgr.errors import Unavailable

_metadata = MetaData()
_OPTIONS: Final[dict[str, Any]] = {"prefixes": ["TEMPORARY"], "postgresql_on_commit": "DROP"}

rows = Table(
    "usermgr_rows",
    _metadata,
    Column("number", BigInteger, nullable=False),
    Column("id", BigInteger),
    Column("email", BinaryText, nullable=False),
    Column("name", String),
    Column("role_id", Integer),
    Column("has_claims", Boolean, nullable=False),
    Column("active", Boolean),
    Column("created_at", Instant),
    Column("password", String),
    Column("line", BigInteger),
    **_OPTIONS,
)
grants = Table(
    "usermgr_row_claims",
    _metadata,
    Column("number", BigInteger, nullable=False),
    Column("claim_id", BigInteger, nullable=False),
    **_OPTIONS,
)
problems = Table(
    "usermgr_row_problems",
    _metadata,
    Column("number", BigInteger, nullable=False),
    Column("line", BigInteger, nullable=False),
    Column("code", String, nullable=False),
    Column("reason", String, nullable=False),
    **_OPTIONS,
)

_UNMATCHED: Final = "LEFT JOIN usermgr_matched m ON m.number = i.number"

ATTEMPTS: Final = 20
"""How often a merge begins again because somebody else created or deleted one of the users, or
changed an e-mail, meanwhile."""

_DIALECT: Final = {
    "postgresql": {
        "lock": " FOR UPDATE OF u",
        "analyze": "ANALYZE {}",
        "forget_plans": "DISCARD PLANS",
        "on_commit": "ON COMMIT DROP",
    },
    "sqlite": {
        "lock": "",
        "analyze": "",
        "forget_plans": "",
        "on_commit": "",
    },
}


def create(connection: Connection) -> None:
    """Create the empty staging tables."""
    for table in (rows, grants, problems):
        connection.execute(CreateTable(table))


def merge(
    op: Operation,
    *,
    on_conflict: str,
    set_passwords: bool,
    stop_at_problems: bool,
    with_ids: bool = False,
    default_role_id: int | None = None,
) -> dict[str, int]:
    """Store the staged rows: create what is new, and do with the rest what ``on_conflict`` says.

    ``fail`` notes rows whose e-mail is taken as problems, ``skip`` passes over them, ``update``
    changes what differs, passwords only with ``set_passwords``. With ``stop_at_problems`` nothing
    is stored when a row has a problem. ``with_ids`` gives new users the ids that the rows have, and
    ``default_role_id`` is the role of those whose row has none.
    Returns the numbers of created, updated, unchanged, skipped and rejected rows, and of
    grants_added and grants_removed; only of the rejected ones when nothing was stored.
    """
    for _ in range(ATTEMPTS):
        try:
            with savepoint(op.connection):
                _match(op.connection, on_conflict, set_passwords, with_ids, default_role_id)
                rejected = _drop_problems(op.connection)
                if rejected and stop_at_problems:
                    return {"rejected": rejected}
                counts = _store(op, on_conflict, set_passwords, with_ids)
                return {**counts, "rejected": rejected}
        except _Gone:
            pass
        except IntegrityError as error:
            if not violates(error, EMAIL_UNIQUE):
                raise
    raise Unavailable("other commands change the same users all the time", hint="try again")


class _Gone(Exception):
    """A user is not there any more, and the row lacks what a new one needs."""


def find_problems(connection: Connection) -> Iterator[tuple[int, int, str, str]]:
    """The (number, line, code, reason) of the rows that the merge could not store, by number."""
    statement = text("SELECT number, line, code, reason FROM usermgr_row_problems ORDER BY number")
    for row in connection.execute(statement, execution_options={"yield_per": 5_000}):
        yield row.number, row.line, row.code, row.reason


def find_outcomes(connection: Connection, on_conflict: str) -> Iterator[tuple[int, str, int, str]]:
    """The (number, e-mail, id, outcome) of every row that is not a problem, by number."""
    known = "'skipped'"
    if on_conflict == "update":
        known = """
            CASE WHEN EXISTS (SELECT 1 FROM usermgr_changed c WHERE c.user_id = m.user_id)
            THEN 'updated' ELSE 'unchanged' END
        """
    # Users that are passed over may be deleted or get another e-mail meanwhile.
    statement = f"""
        SELECT i.number, i.email, coalesce(m.user_id, u.id),
            CASE WHEN m.number IS NULL THEN 'created' ELSE {known} END
        FROM usermgr_rows i {_UNMATCHED}
        LEFT JOIN users u ON u.email = i.email AND m.number IS NULL ORDER BY i.number
    """
    for row in connection.execute(text(statement), execution_options={"yield_per": 5_000}):
        yield row[0], row[1], row[2], row[3]


def _match(
    connection: Connection,
    on_conflict: str,
    set_passwords: bool,
    with_ids: bool,
    default_role_id: int | None,
) -> None:
    """Find the users that rows stand for, and note what cannot be stored."""
    if with_ids:
        _leave_first(connection, "id", "the id")
    for table in (rows, grants):
        _analyze(connection, table.name)
    _make(
        connection,
        "usermgr_matched",
        f"SELECT i.number, u.id AS user_id, i.has_claims, {_differs(set_passwords)} AS differs"
        " FROM usermgr_rows i JOIN users u ON u.email = i.email",
    )
    new = _count_new(connection)
    if _is_repeated(connection, new):
        _leave_first(connection, "email", "the e-mail")
    if on_conflict == "fail":
        matched = "JOIN usermgr_matched m ON m.number = i.number"
        _note(connection, "taken_email", "'the e-mail \"' || i.email || '\" is taken'", matched)
    if not new:
        return
    if default_role_id is not None:
        connection.execute(text(_FILL_ROLE), {"role_id": default_role_id})
    for name, missing in (
        ("name", "i.name IS NULL"),
        ("role", "i.role_id IS NULL AND i.name IS NOT NULL"),  # One problem a row.
    ):
        _note(
            connection,
            f"missing_{name}",
            f"'the {name} is missing'",
            f"{_UNMATCHED} WHERE m.number IS NULL AND {missing}",
        )


_FILL_ROLE: Final = f"""
    UPDATE usermgr_rows SET role_id = :role_id WHERE role_id IS NULL AND number IN
        (SELECT i.number FROM usermgr_rows i {_UNMATCHED} WHERE m.number IS NULL)
"""
"""A join: what NOT IN names does not fit into PostgreSQL's memory, and is then looked through for
every row."""


def _drop_problems(connection: Connection) -> int:
    """Leave rows with a problem out of the rest; returns their number."""
    rejected = _count(connection, "SELECT count(*) FROM usermgr_row_problems")
    if rejected:
        for table in ("usermgr_rows", "usermgr_matched"):
            connection.execute(
                text(
                    f"DELETE FROM {table} WHERE number IN (SELECT number FROM usermgr_row_problems)"
                )
            )
    return rejected


def _store(op: Operation, on_conflict: str, set_passwords: bool, with_ids: bool) -> dict[str, int]:
    counts = dict.fromkeys(("updated", "grants_added", "grants_removed"), 0)
    if on_conflict == "update":
        counts = _update(op, set_passwords)
    matched = _count(op.connection, "SELECT count(*) FROM usermgr_matched")
    created = granted = 0
    if _count_new(op.connection):
        created, granted = _create_new(op, with_ids)
    counts["grants_added"] += granted
    unchanged = matched - counts["updated"] if on_conflict == "update" else 0
    skipped = matched if on_conflict == "skip" else 0
    return {**counts, "created": created, "unchanged": unchanged, "skipped": skipped}


def _is_repeated(connection: Connection, new: int) -> bool:
    """Whether an e-mail stands in several rows. Ids of users are compared faster than e-mails."""
    repeated = _count(connection, "SELECT count(*) - count(DISTINCT user_id) FROM usermgr_matched")
    if new and not repeated:
        repeated = _count(
            connection,
            "SELECT count(*) - count(DISTINCT i.email)"
            f" FROM usermgr_rows i {_UNMATCHED} WHERE m.number IS NULL",
        )
    return repeated > 0


def _count_new(connection: Connection) -> int:
    return _count(
        connection,
        "SELECT (SELECT count(*) FROM usermgr_rows) - (SELECT count(*) FROM usermgr_matched)",
    )


def _leave_first(connection: Connection, column: str, what: str) -> None:
    """Of the rows with the same value only the first stays; the others are problems."""
    connection.execute(
        text(f"""
            INSERT INTO usermgr_row_problems (number, line, code, reason)
            SELECT number, line, 'repeated_{column}',
                '{what} "' || {column} || '" stands on line ' || first_line || ' already'
            FROM (SELECT number, coalesce(line, number) AS line, {column},
                      row_number() OVER same AS occurrence,
                      first_value(coalesce(line, number)) OVER same AS first_line
                  FROM usermgr_rows WHERE {column} IS NOT NULL
                  WINDOW same AS (PARTITION BY {column} ORDER BY number)) repeated
            WHERE occurrence > 1
        """)
    )
    connection.execute(
        text("DELETE FROM usermgr_rows WHERE number IN (SELECT number FROM usermgr_row_problems)")
    )


def _note(connection: Connection, code: str, reason: str, condition: str) -> None:
    connection.execute(
        text(
            "INSERT INTO usermgr_row_problems (number, line, code, reason)"
            f" SELECT i.number, coalesce(i.line, i.number), '{code}', {reason}"
            f" FROM usermgr_rows i {condition}"
        )
    )


def _make(connection: Connection, name: str, select: str) -> None:
    on_commit = _DIALECT[connection.dialect.name]["on_commit"]
    connection.execute(text(f"CREATE TEMPORARY TABLE {name} {on_commit} AS {select}"))
    _analyze(connection, name)


def _analyze(connection: Connection, table: str) -> None:
    statement = _DIALECT[connection.dialect.name]["analyze"]
    if statement:
        connection.execute(text(statement.format(table)))


def _count(connection: Connection, statement: str) -> int:
    number: int = connection.execute(text(statement)).scalar_one()
    return number


_DIFFERING: Final = "SELECT user_id FROM usermgr_matched WHERE differs"
_DIFFERING_STILL: Final = """
    SELECT m.user_id FROM usermgr_matched m JOIN usermgr_rows i ON i.number = m.number
    JOIN users u ON u.id = m.user_id WHERE {differs}
"""
_CHANGED: Final = """
    {differing}
    UNION SELECT user_id FROM usermgr_added UNION SELECT user_id FROM usermgr_removed
"""
_ADDED: Final = """
    SELECT m.user_id, g.claim_id FROM usermgr_row_claims g
    JOIN usermgr_matched m ON m.number = g.number
    LEFT JOIN user_claims h
        ON h.user_id = m.user_id AND h.claim_id = g.claim_id AND {counts}
    WHERE h.user_id IS NULL
"""
_HELD: Final = """
    SELECT h.user_id, h.claim_id, m.number, {counts} AS counts FROM usermgr_matched m
    JOIN user_claims h ON h.user_id = m.user_id WHERE m.has_claims
"""
"""A table of its own, so that the planner knows how many there are, however old the statistics of
user_claims are."""

_REMOVED: Final = """
    SELECT h.user_id, h.claim_id FROM usermgr_held h
    LEFT JOIN usermgr_row_claims g ON g.number = h.number AND g.claim_id = h.claim_id
    WHERE (g.number IS NULL) = h.counts
"""
"""A grant whose time has run out is as none: it gives way to a new one, and stays otherwise."""


def _update(op: Operation, set_passwords: bool) -> dict[str, int]:
    """Change what differs, and record it. Nothing is locked when nothing differs."""
    connection = op.connection
    _find_differences(connection, _DIFFERING, "SELECT * FROM ({}) found")
    if not _count(connection, "SELECT count(*) FROM usermgr_changed"):
        return {"updated": 0, "grants_added": 0, "grants_removed": 0}
    lock = _DIALECT[connection.dialect.name]["lock"]
    if lock:
        # What differs is looked for again once nobody else can change these users any more.
        _make(
            connection,
            "usermgr_locked",
            "SELECT c.user_id, i.email FROM usermgr_changed c JOIN usermgr_matched m"
            " ON m.user_id = c.user_id JOIN usermgr_rows i ON i.number = m.number",
        )
        present = _count(
            connection,
            "SELECT count(*) FROM (SELECT 1 FROM users u JOIN usermgr_locked c"
            f" ON c.user_id = u.id AND c.email = u.email ORDER BY u.id{lock}) locked",
        )
        if present < _count(connection, "SELECT count(*) FROM usermgr_locked"):
            _forget_gone(connection)
        for name in ("usermgr_added", "usermgr_held", "usermgr_removed", "usermgr_changed"):
            connection.execute(text(f"DROP TABLE {name}"))
        own = "SELECT * FROM ({}) found WHERE user_id IN (SELECT user_id FROM usermgr_locked)"
        differing = _DIFFERING_STILL.format(differs=_differs(set_passwords))
        _find_differences(connection, differing, own)
    return _apply(op, set_passwords)


def _forget_gone(connection: Connection) -> None:
    """Let rows stand for new users whose users were deleted, or got other e-mails, meanwhile."""
    gone = (
        "SELECT c.user_id FROM usermgr_locked c LEFT JOIN users u"
        " ON u.id = c.user_id AND u.email = c.email WHERE u.id IS NULL"
    )
    for table in ("usermgr_matched", "usermgr_locked"):
        connection.execute(text(f"DELETE FROM {table} WHERE user_id IN ({gone})"))
    lacking = f"""
        SELECT count(*) FROM usermgr_rows i {_UNMATCHED}
        WHERE m.number IS NULL AND (i.name IS NULL OR i.role_id IS NULL)
    """
    if _count(connection, lacking):
        raise _Gone


def _differs(set_passwords: bool) -> str:
    """Whether the row i says something else than the user u; what it lacks says nothing."""
    columns = ["name", "role_id", "active", *(["password"] if set_passwords else [])]
    unlike = " OR ".join(f"i.{column} <> u.{column}" for column in columns)
    return f"coalesce({unlike}, false)"


def _find_differences(connection: Connection, differing: str, frame: str) -> None:
    counts = counts_sql(connection.dialect.name, "h")
    _make(connection, "usermgr_added", frame.format(_ADDED.format(counts=counts)))
    _make(connection, "usermgr_held", frame.format(_HELD.format(counts=counts)))
    _make(connection, "usermgr_removed", _REMOVED)
    _make(connection, "usermgr_changed", frame.format(_CHANGED.format(differing=differing)))


def _apply(op: Operation, set_passwords: bool) -> dict[str, int]:
    with recorded(op, "usermgr_changed", "update"):
        if set_passwords:
            _keep_passwords(op)
        return _change(op, set_passwords)


_CHANGED_ROWS: Final = """
    FROM usermgr_changed c JOIN usermgr_matched m ON m.user_id = c.user_id
    JOIN usermgr_rows i ON i.number = m.number
"""


def _keep_passwords(op: Operation) -> None:
    op.recycled = True
    op.connection.execute(
        text(f"""
            INSERT INTO recycled_passwords (operation_id, user_id, password)
            SELECT :operation, u.id, u.password {_CHANGED_ROWS} JOIN users u ON u.id = c.user_id
            WHERE i.password <> u.password
        """),
        {"operation": op.id},
    )


def _change(op: Operation, set_passwords: bool) -> dict[str, int]:
    connection = op.connection
    password = "coalesce(i.password, users.password)" if set_passwords else "users.password"
    updated = connection.execute(
        text(f"""
            UPDATE users SET name = coalesce(i.name, users.name),
                role_id = coalesce(i.role_id, users.role_id),
                active = coalesce(i.active, users.active),
                password = {password},
                version = users.version + 1, updated_at = :now
            {_CHANGED_ROWS} WHERE users.id = c.user_id
        """).bindparams(bindparam("now", op.started_at, Instant()))
    ).rowcount
    removed = connection.execute(
        text("""
            DELETE FROM user_claims WHERE EXISTS (SELECT 1 FROM usermgr_removed d
            WHERE d.user_id = user_claims.user_id AND d.claim_id = user_claims.claim_id)
        """)
    ).rowcount
    added = connection.execute(
        text(
            "INSERT INTO user_claims (user_id, claim_id)"
            " SELECT user_id, claim_id FROM usermgr_added ORDER BY user_id, claim_id"
        )
    ).rowcount
    return {"updated": updated, "grants_added": added, "grants_removed": removed}


def _create_new(op: Operation, with_ids: bool) -> tuple[int, int]:
    connection = op.connection
    column = value = overriding = ""
    if with_ids:
        column, value = "id, ", "i.id, "
        overriding = own_ids(connection)
    # In the order of the e-mails: index pages are visited once, and two imports that meet wait for
    # each other in one order.
    created = connection.execute(
        text(f"""
            INSERT INTO users
                ({column}name, email, password, role_id, active, created_at, created_in)
            {overriding} SELECT {value}i.name, i.email, coalesce(i.password, '!'), i.role_id,
                coalesce(i.active, true), coalesce(i.created_at, :now), :operation
            FROM usermgr_rows i {_UNMATCHED} WHERE m.number IS NULL ORDER BY i.email
        """).bindparams(bindparam("now", op.started_at, Instant())),
        {"operation": op.id},
    ).rowcount
    if not created:
        return 0, 0
    forget_plans = _DIALECT[connection.dialect.name]["forget_plans"]
    if forget_plans:
        # Grants of users that were there already were checked by foreign key. Where there were few
        # users, that was planned as a look at all of them.
        connection.execute(text(forget_plans))
    granted = connection.execute(
        text("""
            INSERT INTO user_claims (user_id, claim_id)
            SELECT u.id, g.claim_id FROM usermgr_row_claims g
            JOIN usermgr_rows i ON i.number = g.number JOIN users u ON u.email = i.email
            WHERE u.created_in = :operation ORDER BY u.id, g.claim_id
        """),
        {"operation": op.id},
    ).rowcount
    return created, granted
