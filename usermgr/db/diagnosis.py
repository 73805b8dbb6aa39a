"""What ``usermgr config check`` looks at: connection, versions, encoding, schema, privileges."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, text

from usermgr.db.connections import quoted, stale_schema
from usermgr.db.engine import Database, current_revision
from usermgr.db.models import HEAD_REVISION, VERSION_TABLE, metadata
from usermgr.errors import UserMgrError
from usermgr.records import CheckRow
from usermgr.urls import sqlite_path

OLDEST_POSTGRESQL = 130_000
OLDEST_SQLITE = (3, 35, 0)
_NEEDED = {
    "roles": "SELECT, INSERT, UPDATE, DELETE",
    "claims": "SELECT, INSERT, UPDATE, DELETE",
    "users": "SELECT, INSERT, UPDATE, DELETE",
    "user_claims": "SELECT, INSERT, UPDATE, DELETE",
    "operations": "SELECT, INSERT",
    "changes": "SELECT, INSERT",
    "recycled_users": "SELECT, INSERT, UPDATE, DELETE",
    "recycled_grants": "SELECT, INSERT, UPDATE, DELETE",
    "recycled_passwords": "SELECT, INSERT, UPDATE, DELETE",
    "seals": "SELECT, INSERT",
    "seal_blocks": "SELECT, INSERT",
    "sealed_operations": "SELECT, INSERT",
    "tokens": "SELECT, INSERT, UPDATE",
    "idempotency_keys": "SELECT, INSERT, DELETE",
}


def diagnose(database: Database) -> list[CheckRow]:
    """What was looked at, in order; it ends with the first thing without which no other works."""
    if database.settings.is_embedded_default and not sqlite_path(database.url).exists():
        return [_default_row(sqlite_path(database.url).parent)]
    try:
        with database.errors(), database.connect() as connection:
            rows = [CheckRow("connection", True, database.description)]
            if database.is_sqlite:
                return [*rows, *_diagnose_sqlite(database, connection)]
            return [*rows, *_diagnose_postgresql(database, connection)]
    except UserMgrError as error:
        return [CheckRow("connection", False, error.message, error.hint)]


def _default_row(folder: Path) -> CheckRow:
    if os.access(folder, os.W_OK | os.X_OK):
        return CheckRow("connection", True, "the embedded default, created at first use")
    found = f'the folder "{folder}", where the embedded default would be created, is not writable'
    advice = "go to a folder that is, or name a database in USERMGR_DATABASE_URL"
    return CheckRow("connection", False, found, advice)


def _diagnose_sqlite(database: Database, connection: Connection) -> list[CheckRow]:
    version = sqlite3.sqlite_version
    path = sqlite_path(database.url)
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return [
        CheckRow(
            "version",
            sqlite3.sqlite_version_info >= OLDEST_SQLITE,
            f"SQLite {version}",
            _unless(sqlite3.sqlite_version_info >= OLDEST_SQLITE, "use SQLite 3.35 or newer"),
        ),
        _schema_row(database, connection),
        CheckRow(
            "privileges",
            writable,
            "readable and writable" if writable else "not writable",
            _unless(writable, "give this user write access to the file and its folder"),
        ),
    ]


def _diagnose_postgresql(database: Database, connection: Connection) -> list[CheckRow]:
    settings = database.transaction_settings()
    columns = ", ".join(f"set_config('{name}', :{name}, true)" for name in settings)
    connection.execute(text(f"SELECT {columns}"), settings)
    checks: list[Callable[[Database, Connection], CheckRow]] = [
        _version_row,
        _encoding_row,
        _namespace_row,
        _schema_row,
    ]
    rows = [check(database, connection) for check in checks]
    if rows[-1].ok:
        rows += [_writable_row(connection), _privileges_row(connection)]
    return rows


def _version_row(_database: Database, connection: Connection) -> CheckRow:
    number, name = connection.execute(
        text("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
    ).one()
    ok = number >= OLDEST_POSTGRESQL
    return CheckRow("version", ok, f"PostgreSQL {name}", _unless(ok, "use PostgreSQL 13 or newer"))


def _encoding_row(_database: Database, connection: Connection) -> CheckRow:
    encoding = connection.execute(text("SELECT current_setting('server_encoding')")).scalar_one()
    if encoding != "UTF8":
        advice = "create the database with ENCODING 'UTF8': others cannot store every name"
        return CheckRow("encoding", False, encoding, advice)
    if connection.execute(text("SELECT lower('É') = 'é'")).scalar_one():
        return CheckRow("encoding", True, encoding)
    # A warning: everything works, except that such names are taken for two.
    return CheckRow(
        "encoding",
        True,
        "UTF8, but lc_ctype knows the case of ASCII letters only",
        "role and claim names that differ in the case of other letters are not recognised as one; "
        "create the database with LC_CTYPE 'C.UTF-8', or that of a language",
    )


def _namespace_row(database: Database, connection: Connection) -> CheckRow:
    found = connection.execute(text("SELECT current_schema()")).scalar()
    wanted = database.settings.db_schema
    if found is None and _exists(connection, wanted or "public"):
        advice = f"GRANT USAGE ON SCHEMA {quoted(wanted or 'public')} to the database user"
        return CheckRow("namespace", False, "no privilege to use the schema", advice)
    if found is None:
        missing = f"no schema {quoted(wanted)}" if wanted else "no schema in the search path"
        return CheckRow("namespace", False, missing, "usermgr schema init --create-schema")
    return CheckRow("namespace", True, str(found))


def _exists(connection: Connection, schema: str) -> bool:
    found = text("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = :name)")
    return bool(connection.execute(found, {"name": schema}).scalar())


def _may_not_read(connection: Connection, table: str) -> bool:
    readable = text("SELECT has_table_privilege(to_regclass(:table), 'SELECT')")
    return connection.execute(readable, {"table": table}).scalar() is False


def _schema_row(database: Database, connection: Connection) -> CheckRow:
    if not database.is_sqlite and _may_not_read(connection, VERSION_TABLE):
        found = f"no privilege to read the table {VERSION_TABLE}"
        advice = f"GRANT SELECT ON {VERSION_TABLE} to the database user"
        return CheckRow("schema", False, found, advice)
    revision = current_revision(database, connection)
    if revision == HEAD_REVISION:
        return CheckRow("schema", True, f"revision {revision}")
    error = stale_schema(database.description, revision, schema=database.settings.db_schema)
    found = f"revision {revision or 'none'}, this program needs {HEAD_REVISION}"
    return CheckRow("schema", False, found, error.hint)


def _privileges_row(connection: Connection) -> CheckRow:
    missing = []
    for table in metadata.sorted_tables:
        for privilege in _NEEDED[table.name].split(", "):
            granted = connection.execute(
                text("SELECT has_table_privilege(:name, :privilege)"),
                {"name": quoted(table.name), "privilege": privilege},
            ).scalar_one()
            if not granted:
                missing.append(f"{privilege} on {table.name}")
    sequence = text("SELECT has_sequence_privilege('operations_id_seq', 'USAGE')")
    if not connection.execute(sequence).scalar_one():
        missing.append("USAGE on the sequence operations_id_seq")
    temporary = text("SELECT has_database_privilege(current_database(), 'TEMPORARY')")
    if not connection.execute(temporary).scalar_one():
        missing.append("TEMPORARY on the database (for imports and seed)")
    ok = not missing
    if ok and not _may_erase(connection):
        # A warning: keeping this for few is what the history is safest with.
        found = "all that commands need, but for user erase"
        return CheckRow("privileges", True, found, "GRANT UPDATE ON changes to whoever may erase")
    found = "all that commands need" if ok else "missing " + ", ".join(missing)
    return CheckRow("privileges", ok, found, _unless(ok, "GRANT them to the database user"))


def _may_erase(connection: Connection) -> bool:
    may = text("SELECT has_table_privilege('changes', 'UPDATE')")
    return bool(connection.execute(may).scalar_one())


def _writable_row(connection: Connection) -> CheckRow:
    read_only = text("SELECT current_setting('transaction_read_only')::bool")
    if not connection.execute(read_only).scalar_one():
        return CheckRow("writing", True, "possible")
    return CheckRow(
        "writing",
        False,
        "the database is read-only (a standby, or default_transaction_read_only)",
        "connect to the primary server, or reset the parameter",
    )


def _unless(ok: bool, advice: str) -> str | None:
    return None if ok else advice
