"""Driver errors -> our errors. Driver texts can hold personal data (DETAIL): none is passed on."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from usermgr.errors import Conflict, InvalidInput, Unavailable, UserMgrError
from usermgr.names import visible
from usermgr.urls import mask_url


class Constraint(NamedTuple):
    """A constraint as PostgreSQL names it and as SQLite's message describes it.

    SQLite does not say which foreign key failed. It is never one of these: a write locks the
    whole database, so what a command has found there stays.
    """

    name: str
    sqlite: str | None


EMAIL_UNIQUE = Constraint("users_email_un", "UNIQUE constraint failed: users.email")
ROLE_UNIQUE = Constraint("roles_description_un", "index 'roles_description_un'")
CLAIM_UNIQUE = Constraint("claims_description_un", "index 'claims_description_un'")
TOKEN_UNIQUE = Constraint("tokens_name_un", "UNIQUE constraint failed: tokens.name")
USER_ROLE = Constraint("users_fk", None)
GRANT_CLAIM = Constraint("user_claims_fk_1", None)


_REFERENCE_HINT = "delete or change the rows that refer to it first"


@contextlib.contextmanager
def violation(constraint: Constraint, error: Callable[[], UserMgrError]) -> Iterator[None]:
    """Raise ``error()`` where the block violates the constraint."""
    try:
        yield
    except IntegrityError as raised:
        if not violates(raised, constraint):
            raise
        raise error() from raised


def violates(error: IntegrityError, constraint: Constraint) -> bool:
    """Whether the error is a violation of this constraint."""
    diagnostics = getattr(error.orig, "diag", None)
    if diagnostics is not None:
        return bool(diagnostics.constraint_name == constraint.name)
    return constraint.sqlite is not None and constraint.sqlite in str(error.orig)


@contextlib.contextmanager
def referred_to(what: str) -> Iterator[None]:
    """Raise Conflict where a foreign key, of whatever table, keeps the block from deleting this."""
    try:
        yield
    except IntegrityError as error:
        if not is_reference(error):
            raise
        constraint, table = _constraint_and_table(error)
        by = f'table "{table}" (constraint "{constraint}")' if table else "another table"
        raise Conflict(f"{what} is referred to by {by}", hint=_REFERENCE_HINT) from error


def is_reference(error: DBAPIError) -> bool:
    """Whether the error is a violation of a foreign key, which may be an application's."""
    code = getattr(error.orig, "pgcode", None)
    return code in ("23503", "23001") or "FOREIGN KEY constraint failed" in str(error.orig)


def _constraint_and_table(error: DBAPIError) -> tuple[str | None, str | None]:
    """Which constraint of which table is violated, as PostgreSQL tells; SQLite does not."""
    diagnostics = getattr(error.orig, "diag", None)
    return getattr(diagnostics, "constraint_name", None), getattr(diagnostics, "table_name", None)


def _refused_reference(error: DBAPIError) -> Conflict:
    constraint, table = _constraint_and_table(error)
    key = f'the foreign key "{constraint}" of the table "{table}"' if table else "a foreign key"
    return Conflict(f"{key} forbids the change", hint=_REFERENCE_HINT)


class SchemaMissing(Exception):
    """A table, column or sequence that this program needs is not there."""


_BY_PGCODE = {
    "57014": ("a statement took longer than allowed", "raise USERMGR_STATEMENT_TIMEOUT"),
    "55P03": (
        "the database is locked by another command",
        "try again, or raise USERMGR_LOCK_TIMEOUT",
    ),
    "40P01": ("another command wanted the same rows (deadlock)", "try again"),
    "40001": ("another command changed the same rows", "try again"),
    "53100": ("the database server's disk is full", "free space on the server"),
    "53200": ("the database server is out of memory", "try again later"),
    "53300": (
        "the database server has no connection left",
        "try again later, or raise max_connections",
    ),
    "57P03": ("the database server is starting up or shutting down", "try again in a moment"),
    "25006": (
        "the database is read-only (a standby, or default_transaction_read_only)",
        "connect to the primary server",
    ),
}
_SQLITE = (
    (
        "database is locked",
        "the database is locked by another command",
        "try again, or raise USERMGR_LOCK_TIMEOUT",
    ),
    ("database table is locked", "the database is locked by another command", "try again"),
    ("database or disk is full", "the disk is full", "free space where the database file lies"),
    ("disk I/O error", "the database file cannot be read or written (disk error)", None),
    (
        "unable to open database file",
        "the database file cannot be opened",
        "check that its folder exists and is writable",
    ),
    (
        "readonly database",
        "the database file is read-only",
        "check the permissions of the file and of its folder",
    ),
    (
        "file is not a database",
        "the file is not a SQLite database",
        "check the path in the database URL",
    ),
    ("malformed", "the database file is damaged", "restore it from a backup"),
)

_SOURCE = "usermgr config show tells where the database URL comes from"
_CONNECTION_HINTS = (
    ("could not translate host name", f"correct the host; {_SOURCE}"),
    (
        "Connection refused|No such file or directory|No route to|unreachable|timed? ?out|in time",
        f"start the server, or correct host and port; {_SOURCE}",
    ),
    (
        "authentication failed|no password supplied",
        "correct the user, or the password in the URL, in PGPASSWORD or in ~/.pgpass",
    ),
    ("^role .* does not exist", "correct the user, or create it on the server: createuser NAME"),
    (
        "^database .* does not exist",
        f"create the database with: createdb NAME, or correct its name; {_SOURCE}",
    ),
    (
        r"pg_hba\.conf",
        "have the server's administrator allow it, or choose another host, user or sslmode",
    ),
    ("^too many connections|connection slots", "try again later, or raise max_connections"),
)
"""What helps, by what libpq or the server said; a server that speaks another language than English
gets the general hint."""


def lost_connection(error: BaseException) -> bool:
    """Whether the error means that the connection broke, not that a statement was refused."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def translate(error: SQLAlchemyError, database: str) -> Exception:
    """The error that is told to the person, for an error of the driver or of SQLAlchemy.

    ``database`` is the description without secrets. What is not recognised comes back as it is.
    """
    if isinstance(error, PoolTimeout):
        return Unavailable(
            f'every connection to the database is in use: "{database}"', hint="try again"
        )
    if not isinstance(error, DBAPIError):
        return error
    if is_reference(error):
        return _refused_reference(error)
    if type(error.orig).__module__.startswith("sqlite3"):
        return _translate_sqlite(error, database)
    return _translate_postgresql(error, database)


def _refused_by_rule(rule: str) -> Conflict:
    return Conflict(
        f"{rule} forbids the change", hint="the rule is the database's own: ask who looks after it"
    )


def _translate_sqlite(error: DBAPIError, database: str) -> Exception:
    text = str(error.orig)
    if getattr(error.orig, "sqlite_errorname", "") == "SQLITE_CONSTRAINT_TRIGGER":
        return _refused_by_rule("a trigger")
    if "constraint failed" in text:
        return _refused_by_rule(f'the rule "{visible(text, 200)}"')
    if "no such table" in text or "no such column" in text or "has no column" in text:
        return SchemaMissing()
    for pattern, message, hint in _SQLITE:
        if pattern in text:
            return Unavailable(f'{message}: "{database}"', hint=hint)
    return error


def _translate_postgresql(error: DBAPIError, database: str) -> Exception:
    code = getattr(error.orig, "pgcode", None)
    if code in ("42P01", "42703", "3F000"):
        return SchemaMissing()
    if code is not None and (rule := _postgresql_rule(error, code)):
        return _refused_by_rule(rule)
    if code in _BY_PGCODE:
        message, hint = _BY_PGCODE[code]
        return Unavailable(f'{message}: "{database}"', hint=hint)
    if code == "42501":
        what = _first_line(error).partition("permission denied for ")[2]
        return Unavailable(
            f'the database user may not use {what or "this"}: "{database}"',
            hint="usermgr config check lists the missing privileges",
        )
    if error.connection_invalidated or (code or "").startswith("57P"):
        return Unavailable(
            f'the connection to the database was lost: "{database}"',
            hint="nothing was changed; try again",
        )
    if isinstance(error, ProgrammingError) and "invalid dsn" in str(error.orig):
        reason = mask_url(_first_line(error).rpartition("invalid dsn: ")[2].replace('"', "'"))
        return InvalidInput(
            f"the database URL has an option that is not understood: {visible(reason, 200)}",
            hint="the options are libpq's connection parameters, such as sslmode",
        )
    if isinstance(error, OperationalError) and code is None:
        return _connection_failed(error, database)
    if code in ("22P05", "22021"):
        return InvalidInput(
            "the database's encoding cannot store this text",
            hint="use a database with the encoding UTF8",
        )
    return error


def _postgresql_rule(error: DBAPIError, code: str) -> str | None:
    """Which constraint, trigger or length of a column refused a value, if that is what it was."""
    diagnostics = getattr(error.orig, "diag", None)
    table = getattr(diagnostics, "table_name", None)
    if code == "23502":
        column = getattr(diagnostics, "column_name", None)
        return f'the column "{column}" of the table "{table}", which must not be empty,'
    if code.startswith("23"):
        constraint = getattr(diagnostics, "constraint_name", None)
        return f'the constraint "{constraint}" of the table "{table}"'
    if code == "22001":
        return f"the length of a column ({_first_line(error).rpartition(' for ')[2]})"
    if code == "P0001":
        context = getattr(diagnostics, "context", None) or ""
        function = re.match(r"PL/pgSQL function ([^()\s]+)", context)
        return f'the trigger function "{function[1]}"' if function else "a trigger"
    return None


def _connection_failed(error: DBAPIError, database: str) -> Unavailable:
    reason = _first_line(error)
    reason = re.sub(r"^connection to server .*? failed: ", "", reason)
    reason = mask_url(reason.removeprefix("FATAL:").strip().replace('"', "'"))
    hints = (hint for pattern, hint in _CONNECTION_HINTS if re.search(pattern, reason))
    return Unavailable(
        f'cannot connect to "{database}": {visible(reason, 200)}',
        hint=next(hints, _SOURCE),
    )


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0].rstrip(".")
