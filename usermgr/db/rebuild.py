"""Load without keys: indexes and foreign keys are dropped before and built anew after.

PostgreSQL only, in the caller's transaction, under an exclusive lock. Building an index over sorted
rows and checking a foreign key with one join costs a fraction of doing both row by row. What is
dropped and rebuilt comes from the model's metadata, so it must stand as that describes it: where
somebody has changed a key or an index, or needs one, nothing is dropped. What others have added to
the tables stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

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

_STANDING: Final = """
    WITH ours AS (SELECT unnest(ARRAY[{tables}]) AS id)
    SELECT c.relname, pg_get_indexdef(c.oid, 0, true)
    FROM ours JOIN pg_index x ON x.indrelid = ours.id JOIN pg_class c ON c.oid = x.indexrelid
    WHERE x.indisvalid AND NOT x.indisclustered AND NOT x.indisreplident
    AND c.reltablespace = 0 AND obj_description(c.oid, 'pg_class') IS NULL
    UNION SELECT k.conname, pg_get_constraintdef(k.oid, true)
    FROM ours JOIN pg_constraint k ON k.conrelid = ours.id
    WHERE obj_description(k.oid, 'pg_constraint') IS NULL AND NOT EXISTS
        (SELECT 1 FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
"""
"""What a new one would be like: has no comment, lies where the database does, and so on."""


def is_empty(connection: Connection) -> bool:
    """Whether there is no user yet."""
    return connection.execute(text("SELECT 1 FROM users LIMIT 1")).first() is None


class Rights(NamedTuple):
    """What this database user may do: ``rebuild`` the keys of tables, and see all their rows."""

    rebuild: bool
    see: bool


def find_rights(connection: Connection, tables: Sequence[Table] = LOCKED) -> Rights:
    """What this database user may do with the tables; on SQLite keys are not rebuilt."""
    if connection.dialect.name == "sqlite":
        return Rights(rebuild=False, see=True)
    found = connection.execute(
        text(f"""
            SELECT bool_and(pg_has_role(relowner, 'USAGE')
                AND has_table_privilege(oid, 'REFERENCES')
                AND has_schema_privilege(relnamespace, 'CREATE')),
                NOT bool_or(row_security_active(oid))
            FROM pg_class WHERE oid IN ({_listed(tables)})
        """)
    ).one()
    return Rights(*found)


def open_exclusively(connection: Connection) -> list[Key]:
    """Wait for the tables to be ours alone, no longer than the lock timeout, and drop their keys.

    Returns the keys that ``build`` is to build. Raises Forbidden when that cannot be done. Must
    come before anything else of the transaction touches the tables: two that read first and lock
    afterwards would wait for each other.
    """
    connection.execute(text(_lock_statement(LOCKED)))
    require_rebuildable(connection)
    keys = _drop(connection)
    if keys is None:
        raise Forbidden(
            "another table or view needs an index that would have to be rebuilt",
            hint="import without --exclusive",
        )
    return keys


def open_empty(connection: Connection) -> list[Key] | None:
    """Lock the tables and drop their keys if there is no user yet and nobody uses them now.

    Returns the keys that ``build`` is to build, or None where rows must go in beside them.
    """
    with savepoint(connection) as point:
        if lock_if_free(connection, LOCKED) and is_empty(connection):
            kept = find_altered(connection, TABLES) or find_deferrable(connection, TABLES)
            keys = None if kept else _drop(connection)
            if keys is not None:
                return keys
        point.rollback()
    return None


def lock_if_free(connection: Connection, tables: Sequence[Table]) -> bool:
    """Lock the tables against everybody else; returns False where somebody uses one of them."""
    try:
        with savepoint(connection):
            connection.execute(text(f"{_lock_statement(tables)} NOWAIT"))
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != "55P03":
            raise
        return False
    return True


def require_rebuildable(connection: Connection) -> None:
    """Raise Forbidden where a key or an index is another than the one that would be built."""
    altered = find_altered(connection, TABLES)
    if altered:
        raise Forbidden(
            f'"{altered[0]}" is not as usermgr makes it, and would be when it is rebuilt',
            hint="import without --exclusive",
        )
    deferrable = find_deferrable(connection, TABLES)
    if deferrable:
        raise Forbidden(
            f'the trigger "{deferrable[0]}" may wait for the end of the transaction, and no key can'
            " be built meanwhile",
            hint="import without --exclusive",
        )


def build(connection: Connection, keys: Sequence[Key], tables: Sequence[Table] = TABLES) -> None:
    """Build the keys that were dropped, and all indexes of the tables.

    Raises IntegrityError when the rows violate one of them.
    """
    # Statements that work on all rows at once take as long as they take.
    rows = connection.execute(_SETTINGS, {"names": list(_FOR_BUILDING)})
    before = {row.name: row.value for row in rows}
    _set(connection, _FOR_BUILDING)
    driver = connection.connection.dbapi_connection
    patience, driver.patience = driver.patience, None  # type: ignore[union-attr]
    try:
        _build(connection, keys, tables)
    finally:
        driver.patience = patience  # type: ignore[union-attr]
    _set(connection, before)


_SETTINGS: Final = text("SELECT name, current_setting(name) AS value FROM unnest(:names) AS name")
_FOR_BUILDING: Final = {
    "statement_timeout": "0",
    "maintenance_work_mem": "256MB",
    "default_tablespace": "",
}


def _set(connection: Connection, settings: Mapping[str, str]) -> None:
    """Make the settings hold until the transaction ends, or others are made."""
    for name, value in settings.items():
        connection.execute(
            text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value}
        )


def _lock_statement(tables: Sequence[Table]) -> str:
    return f"LOCK TABLE {', '.join(table.name for table in tables)} IN ACCESS EXCLUSIVE MODE"


def find_altered(connection: Connection, tables: Sequence[Table]) -> list[str]:
    """The names of the keys and indexes that do not stand as the models make them."""
    rows = connection.execute(text(_STANDING.format(tables=_listed(tables))))
    standing = {(name, definition) for name, definition in rows}
    return sorted({made[0] for table in tables for made in _made(table) if made not in standing})


def find_deferrable(connection: Connection, tables: Sequence[Table]) -> list[str]:
    """The names of an application's triggers that may have to run before keys can be built."""
    found = connection.execute(
        text(f"""
            SELECT tgname FROM pg_trigger WHERE tgrelid IN ({_listed(tables)})
            AND tgdeferrable AND NOT tgisinternal ORDER BY tgname
        """)
    )
    return list(found.scalars())


def _listed(tables: Sequence[Table]) -> str:
    return ", ".join(f"to_regclass('{table.name}')" for table in tables)


def _made(table: Table) -> Iterator[tuple[str, str]]:
    """Names and definitions of the table's keys and indexes, as PostgreSQL gives them."""
    for key in (*_constraints(table), table.primary_key):
        name, columns = str(key.name), ", ".join(key.columns.keys())
        if isinstance(key, ForeignKeyConstraint):
            target = key.elements[0].column
            reference = f"{target.table.name}({target.name})"
            if key.ondelete:
                reference += f" ON DELETE {key.ondelete}"
            yield name, f"FOREIGN KEY ({columns}) REFERENCES {reference}"
        else:
            kind = "UNIQUE" if isinstance(key, UniqueConstraint) else "PRIMARY KEY"
            yield name, f"{kind} ({columns})"
            yield name, f"CREATE UNIQUE INDEX {name} ON {table.name} USING btree ({columns})"
    for index in table.indexes:
        columns = ", ".join(index.columns.keys())
        of_few = index.dialect_options["postgresql"]["where"] is not None
        which = f"({columns}) WHERE {columns} IS NOT NULL" if of_few else f"({columns})"
        yield str(index.name), f"CREATE INDEX {index.name} ON {table.name} USING btree {which}"


def _drop(connection: Connection) -> list[Key] | None:
    """Drop the indexes and keys; returns the keys in the order in which they are to be built.

    None, and nothing is dropped, where something of an application needs one of them.
    """
    dropped = drop_keys(connection, TABLES)
    if dropped is None:
        return None
    try:
        with savepoint(connection):
            connection.execute(DropConstraint(users.primary_key))
    except DBAPIError as error:
        if not _is_needed(error):
            raise
        return dropped  # An application's tables refer to users.
    return [users.primary_key, *dropped]


def drop_keys(connection: Connection, tables: Sequence[Table]) -> list[Key] | None:
    """Drop the tables' indexes and keys, but for the primary key of users; returns the keys in the
    order in which they are to be built.

    None, and nothing is dropped, where something of an application needs one of them.
    """
    dropped = [constraint for table in reversed(tables) for constraint in _constraints(table)]
    try:
        with savepoint(connection):
            for constraint in reversed(dropped):
                connection.execute(DropConstraint(constraint))
            for table in tables:
                for index in table.indexes:
                    connection.execute(DropIndex(index))
    except DBAPIError as error:
        if not _is_needed(error):
            raise
        return None
    return dropped


def _is_needed(error: DBAPIError) -> bool:
    return getattr(error.orig, "pgcode", None) == "2BP01"


def _build(connection: Connection, keys: Sequence[Key], tables: Sequence[Table]) -> None:
    references = [key for key in keys if isinstance(key, ForeignKeyConstraint)]
    for key in keys:
        if key not in references:
            connection.execute(AddConstraint(key, isolate_from_table=False))
    for table in reversed(tables):
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            connection.execute(CreateIndex(index))
    for key in references:
        connection.execute(AddConstraint(key, isolate_from_table=False))


def _constraints(table: Table) -> list[Key]:
    """The keys of the table, but for the primary key of users, which others may need."""
    found = [c for c in table.constraints if isinstance(c, Key) and c is not users.primary_key]
    return sorted(found, key=lambda constraint: str(constraint.name))
