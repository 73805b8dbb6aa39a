"""Adoption on PostgreSQL: alter the challenge's tables in place until they are revision 0001."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from sqlalchemy import Connection, Index, PrimaryKeyConstraint, UniqueConstraint, text

from usermgr.db.models import metadata
from usermgr.errors import Conflict

KEYS: Final = {
    ("roles", "PRIMARY KEY (id)"): "roles_pk",
    ("claims", "PRIMARY KEY (id)"): "claims_pk",
    ("users", "PRIMARY KEY (id)"): "users_pk",
    ("users", "FOREIGN KEY (role_id) REFERENCES roles(id)"): "users_fk",
    ("user_claims", "UNIQUE (user_id, claim_id)"): "user_claims_un",
    ("user_claims", "FOREIGN KEY (user_id) REFERENCES users(id)"): "user_claims_fk",
    ("user_claims", "FOREIGN KEY (claim_id) REFERENCES claims(id)"): "user_claims_fk_1",
}
"""Names of the challenge's constraints by table and definition, in the order they can be made."""

_REPLACED = (
    ("roles", "PRIMARY KEY"),
    ("claims", "PRIMARY KEY"),
    ("users", "PRIMARY KEY"),
    ("user_claims", "PRIMARY KEY"),
    ("users", "FOREIGN KEY (role_id) "),
    ("user_claims", "FOREIGN KEY (user_id) "),
    ("user_claims", "FOREIGN KEY (claim_id) "),
    # Revision 0002 holds these unique, and more strictly.
    ("roles", "UNIQUE (description)"),
    ("claims", "UNIQUE (description)"),
    ("users", "UNIQUE (email)"),
)
"""How definitions begin in whose place the challenge's own or those of 0002 step."""

_TYPES = {
    "roles": {"id": "integer", "description": "character varying"},
    "claims": {"id": "bigint", "description": "character varying", "active": "boolean"},
    "users": {
        "id": "bigint",
        "name": "character varying",
        "email": "character varying",
        "password": "character varying",
        "role_id": "integer",
    },
    "user_claims": {"user_id": "bigint", "claim_id": "bigint"},
}
"""The types of revision 0001; 0002 makes instants of dates and of times alike."""


INTEGER_MAX: Final = 2**31 - 1


class Column(NamedTuple):
    """A column as the catalogue describes it; ``identity`` is ``a``, ``d`` or empty."""

    name: str
    type: str
    not_null: bool
    identity: str
    default: str | None

    @property
    def must_be_given(self) -> bool:
        """Whether an INSERT that leaves the column out fails."""
        return self.not_null and not self.identity and self.default is None


def read_postgresql_columns(connection: Connection, table: str) -> list[Column]:
    """The columns of a table in their order; none when there is no ordinary table of that name."""
    rows = connection.execute(
        text("""
            SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type,
                a.attnotnull, a.attidentity::text AS identity,
                pg_get_expr(d.adbin, d.adrelid) AS default
            FROM pg_attribute a
            JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped
            ORDER BY a.attnum
        """),
        {"table": table},
    )
    return [Column(*row) for row in rows]


def normalise_postgresql(connection: Connection, claim_name: str) -> list[str]:
    """Alter names, types and keys to those of revision 0001; returns what was changed, in words."""
    _require_small_role_ids(connection)
    if claim_name != "description":
        connection.execute(text(f"ALTER TABLE claims RENAME COLUMN {claim_name} TO description"))
    changed = _drop_replaced_keys(connection) + _drop_replaced_indexes(connection)
    for table in _TYPES:
        for column in read_postgresql_columns(connection, table):
            for change, words in _alterations(table, column):
                connection.execute(text(f"ALTER TABLE {table} ALTER COLUMN {column.name} {change}"))
                changed.append(words)
    for table in ("roles", "claims", "users"):
        changed += _number_by_identity(connection, table)
    return changed + _complete_keys(connection)


def _require_small_role_ids(connection: Connection) -> None:
    highest = connection.execute(text("SELECT coalesce(max(id), 0) FROM roles")).scalar_one()
    last = max(highest, _last_number(connection, "roles"))
    if last >= INTEGER_MAX:
        raise Conflict(
            f"the ids of roles have come to {last}, and the last that usermgr can give is "
            f"{INTEGER_MAX}",
            hint="give the roles lower ids, and their sequence a lower value, with a SQL client, "
            "then run this again",
        )


def _drop_replaced_indexes(connection: Connection) -> list[str]:
    """Drop indexes that have the names of ours: those were made for the same purpose."""
    ours = [
        str(key.name)
        for table in metadata.tables.values()
        for key in (*table.constraints, *table.indexes)
        if isinstance(key, (PrimaryKeyConstraint, UniqueConstraint, Index))
    ]
    found = connection.execute(
        text("""
            SELECT x.indrelid::regclass::text AS table, x.indexrelid::regclass::text AS name,
                pg_get_indexdef(x.indexrelid) AS definition
            FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
            WHERE i.relname = ANY(:ours) AND x.indrelid IN (to_regclass('roles'),
                to_regclass('claims'), to_regclass('users'), to_regclass('user_claims'))
            AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid
                AND k.contype IN ('p', 'u', 'x'))
            ORDER BY i.relname
        """),
        {"ours": ours},
    ).all()
    for row in found:
        connection.execute(text(f"DROP INDEX {row.name}"))
    return [f"dropped {row.name} of {row.table}: {row.definition}" for row in found]


def _drop_replaced_keys(connection: Connection) -> list[str]:
    changed = []
    # Foreign keys first: they hold on to the primary keys.
    for table, name, definition in sorted(_keys(connection), key=lambda key: key[2]):
        if (table, definition) in KEYS:
            continue
        if any(table == t and definition.startswith(start) for t, start in _REPLACED):
            connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
            changed.append(f"dropped {name} of {table}: {definition}")
    return changed


def _complete_keys(connection: Connection) -> list[str]:
    present: dict[tuple[str, str], str] = {}
    changed = []
    for table, name, definition in _keys(connection):
        if (table, definition) in present:
            connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
            changed.append(f"dropped {name} of {table}, which repeated another")
        elif (table, definition) in KEYS:
            present[table, definition] = name
    changed += _rename_keys(connection, present)
    for (table, definition), wanted in KEYS.items():
        if (table, definition) not in present:
            connection.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT {wanted} {definition}"))
            changed.append(f"added {wanted} to {table}: {definition}")
    return changed


def _rename_keys(connection: Connection, present: dict[tuple[str, str], str]) -> list[str]:
    """Give keys their names, by way of others: two may have each other's."""
    renamed = [
        (table, found, KEYS[table, definition])
        for (table, definition), found in present.items()
        if found != KEYS[table, definition]
    ]
    rename = "ALTER TABLE {} RENAME CONSTRAINT {} TO {}"
    for table, found, wanted in renamed:
        connection.execute(text(rename.format(table, found, f"usermgr_{wanted}")))
    for table, _, wanted in renamed:
        connection.execute(text(rename.format(table, f"usermgr_{wanted}", wanted)))
    return [f"renamed {found} of {table} to {wanted}" for table, found, wanted in renamed]


def _keys(connection: Connection) -> list[tuple[str, str, str]]:
    """The keys of the four tables as (table, name in quotes, definition), the oldest first."""
    rows = connection.execute(
        text("""
            SELECT c.relname::text, quote_ident(k.conname), pg_get_constraintdef(k.oid)
            FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
            WHERE k.contype IN ('p', 'u', 'f') AND k.conrelid IN
                (to_regclass('roles'), to_regclass('claims'), to_regclass('users'),
                 to_regclass('user_claims'))
            ORDER BY k.oid
        """)
    )
    return [(table, name, definition) for table, name, definition in rows]


def _alterations(table: str, column: Column) -> Iterator[tuple[str, str]]:
    full_name = f"{table}.{column.name}"
    wanted = _TYPES[table].get(column.name)
    if wanted and column.type != wanted:
        yield f"TYPE {wanted}", f"changed {full_name} from {column.type} to {wanted}"
    if (wanted or full_name == "users.created_at") and not column.not_null:
        yield "SET NOT NULL", f"made {full_name} not null"
    if full_name == "users.updated_at" and column.not_null:
        yield "DROP NOT NULL", f"made {full_name} nullable"
    if full_name == "users.updated_at" and column.default is not None:
        yield "DROP DEFAULT", f"dropped the default of {full_name}: {column.default}"
    if full_name == "claims.active" and column.default != "true":
        yield "SET DEFAULT true", f"made true the default of {full_name}"


def _number_by_identity(connection: Connection, table: str) -> list[str]:
    """Let the id be an identity that goes on behind every id that was ever given out."""
    changed = []
    column = next(c for c in read_postgresql_columns(connection, table) if c.name == "id")
    last = _last_number(connection, table)
    alter = f"ALTER TABLE {table} ALTER COLUMN id"
    if column.identity == "d":
        connection.execute(text(f"{alter} SET GENERATED ALWAYS"))
    elif not column.identity:
        sequence = _sequence(connection, table)
        connection.execute(text(f"{alter} DROP DEFAULT"))
        if sequence:
            connection.execute(text(f"DROP SEQUENCE {sequence}"))
        connection.execute(text(f"{alter} ADD GENERATED ALWAYS AS IDENTITY"))
    if column.identity != "a":
        changed.append(f"made {table}.id an identity that is always generated")
    highest = connection.execute(text(f"SELECT coalesce(max(id), 0) FROM {table}")).scalar_one()
    now = _last_number(connection, table)
    if max(last, highest) > now:
        connection.execute(text(f"{alter} RESTART WITH {max(last, highest) + 1}"))
        if highest > last:
            changed.append(f"let the ids of {table} go on behind the highest, {highest}")
    return changed


def _sequence(connection: Connection, table: str) -> str | None:
    sequence: str | None = connection.execute(
        text("SELECT pg_get_serial_sequence(:table, 'id')"), {"table": table}
    ).scalar()
    return sequence


def _last_number(connection: Connection, table: str) -> int:
    """The number before the one that the id's sequence will give out next; 0 without a sequence."""
    sequence = _sequence(connection, table)
    if sequence is None:
        return 0
    statement = f"SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM {sequence}"
    return int(connection.execute(text(statement)).scalar_one())
