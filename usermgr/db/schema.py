"""The schema of a database: create, adopt, upgrade, downgrade, compare. Drives Alembic in code.

Everything that one call changes happens in one transaction, in which nobody else migrates: a call
that fails or refuses leaves the database as it was.
"""

from __future__ import annotations

import io
import sqlite3
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, text

from usermgr.config import Settings
from usermgr.db.adopt import FIRST_REVISION, TABLES, adopt, prepare
from usermgr.db.adopt_rows import Adoption, record_adoption
from usermgr.db.connections import quoted_schema, stale_schema, unmanaged_tables
from usermgr.db.differences import comparable, describe_differences, find_other_differences
from usermgr.db.engine import Database, current_revision
from usermgr.db.migrating import create_file, migration, use_wal
from usermgr.db.models import HEAD_REVISION, VERSION_TABLE, metadata
from usermgr.db.obstacles import Merge
from usermgr.db.revisions import ddl_path, migrations_folder, revision_titles
from usermgr.db.unreadable import find_unreadable
from usermgr.errors import Conflict, InvalidInput
from usermgr.names import visible
from usermgr.records import Difference, SchemaReport, SchemaStatus
from usermgr.urls import sqlite_path

OUR_TABLES: Final = tuple(metadata.tables)


def init(
    database: Database,
    *,
    create_schema: bool = False,
    merge_roles: bool = False,
    merge_claims: bool = False,
    actor: str = "usermgr",
) -> SchemaReport:
    """Bring the database to this program's schema, whatever it holds; may be repeated.

    The outcome is created, adopted (the challenge's tables), upgraded (an older revision) or
    unchanged. ``create_schema`` creates the PostgreSQL schema of the settings when it is missing;
    ``merge_roles`` and ``merge_claims`` join those whose names differ only in case or outer spaces.
    What is changed in rows of the challenge's tables is recorded as an operation of ``actor``.

    Raises Conflict when tables of these names are not the challenge's, or rows stand in the way
    (the details list them), and Unavailable when the schema is newer than this program.
    """
    if database.is_sqlite:
        create_file(database)
    with migration(database, create_schema=create_schema) as connection:
        revision = _known_revision(database, connection)
        merge = Merge(merge_roles, merge_claims)
        outcome, changes = _init(database, connection, revision, merge, actor)
    if database.is_sqlite and outcome in ("created", "adopted"):
        use_wal(database)
    return SchemaReport(database.description, outcome, revision, HEAD_REVISION, tuple(changes))


def upgrade(database: Database, revision: str = "head", *, actor: str = "usermgr") -> SchemaReport:
    """Bring the schema up to a revision. The outcome is upgraded or unchanged.

    Rows of revision 0001 that must be changed are recorded as an operation of ``actor``.

    Raises InvalidInput for a revision that is unknown or lower than the present one, Unavailable
    for a database without a schema, Conflict when rows stand in the way.
    """
    target = _target(revision)
    with migration(database) as connection:
        present = _require_revision(database, connection)
        if target < present:
            raise InvalidInput(
                f'the schema is at revision {present}, which is higher than "{revision}"',
                hint=f"take it back with: usermgr schema downgrade {revision}",
            )
        author = {"command": "schema upgrade", "actor": actor}
        changes = _upgrade(database, connection, present, target, Merge(), author)
    outcome = "upgraded" if target > present else "unchanged"
    return SchemaReport(database.description, outcome, present, target, tuple(changes))


def downgrade(database: Database, revision: str) -> SchemaReport:
    """Take the schema back to a revision; "base" drops everything, the rows included.

    The outcome is downgraded or unchanged. Raises InvalidInput for a revision that is unknown or
    higher than the present one, Unavailable for a database without a schema.
    """
    target = "" if revision == "base" else _target(revision)
    with migration(database) as connection:
        present = _require_revision(database, connection)
        if target > present:
            raise InvalidInput(
                f'the schema is at revision {present}, which is lower than "{revision}"',
                hint=f"bring it up with: usermgr schema upgrade {revision}",
            )
        if target != present:
            _run_alembic(connection, "downgrade", target or "base")
        if not target:
            connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    titles = reversed(revision_titles().items())
    changes = tuple(f"reverted {title}" for name, title in titles if target < name <= present)
    outcome = "downgraded" if changes else "unchanged"
    return SchemaReport(database.description, outcome, present, target or None, changes)


def status(database: Database) -> SchemaStatus:
    """Where the database's schema stands: missing, unmanaged (the challenge's tables, not adopted
    yet), behind, current or ahead, with the revisions that ``init`` or ``upgrade`` would apply.
    """
    if database.is_sqlite and not sqlite_path(database.url).exists():
        revision, tables = None, set()
    else:
        with database.errors(), database.connect() as connection:
            revision = current_revision(database, connection)
            tables = _existing_tables(database, connection)
    pending = tuple(name for name in revision_titles() if name > (revision or ""))
    if revision is None:
        state = "unmanaged" if tables & set(TABLES) else "missing"
    elif revision == HEAD_REVISION:
        state = "current"
    else:
        state = "behind" if pending else "ahead"
    return SchemaStatus(database.description, state, revision, HEAD_REVISION, pending)


def check(database: Database) -> tuple[Difference, ...]:
    """The differences between the database and this program's tables; empty means none.

    Where the tables are as they should be, values that cannot be read are differences as well.

    Raises Unavailable when the schema is not at this program's revision at all.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    options: dict[str, Any] = {
        "compare_type": True,
        "compare_server_default": True,
        # Tables of other programs in the same schema are none of this program's business.
        "include_object": lambda _object, name, kind, _reflected, _to: (
            kind != "table" or name in OUR_TABLES
        ),
    }
    with database.read() as connection, warnings.catch_warnings():
        # SQLAlchemy and Alembic warn that they skip expressions in indexes on SQLite.
        warnings.simplefilter("ignore")
        context = MigrationContext.configure(connection, opts=options)
        compared = compare_metadata(context, comparable(connection.dialect.name))
        found = describe_differences(compared, sqlite=database.is_sqlite)
        found += find_other_differences(connection)
        if all(difference.addition for difference in found):
            found += [Difference(words) for words in find_unreadable(connection)]
        return tuple(found)


def ddl(dialect: str) -> str:
    """The whole schema as a SQL script, for "postgresql" or "sqlite"."""
    if dialect == "postgresql":
        return ddl_path().read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "usermgr.db"
        init(Database(Settings(database_url=f"sqlite:///{path}")))
        connection = sqlite3.connect(path)
        try:
            rows = connection.execute(
                "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
                " AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
            ).fetchall()
        finally:
            connection.close()
    stamp = f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{HEAD_REVISION}')"
    statements = ["BEGIN", *(row[0].strip() for row in rows), stamp, "COMMIT"]
    return "".join(f"{statement};\n\n" for statement in statements).rstrip("\n") + "\n"


def initialise_embedded(database: Database) -> bool:
    """Create the embedded default database when its file is missing or empty.

    True when this process did it; any number may try at once. A database that somebody chose, or a
    file that holds anything, is left alone.
    """
    if not (database.is_sqlite and database.settings.is_embedded_default):
        return False
    path = sqlite_path(database.url)
    if path.exists() and path.stat().st_size > 0:
        return False
    return init(database).outcome == "created"


def _init(
    database: Database, connection: Connection, revision: str | None, merge: Merge, actor: str
) -> tuple[str, list[str]]:
    author = {"command": "schema init", "actor": actor}
    if revision is not None:
        changes = _upgrade(database, connection, revision, HEAD_REVISION, merge, author)
        return ("upgraded" if changes else "unchanged"), changes
    tables = _existing_tables(database, connection)
    if not tables:
        _run_alembic(connection, "upgrade", "head")
        return "created", [f"created {len(OUR_TABLES)} tables"]
    foreign = sorted(tables - set(TABLES))
    if foreign:
        raise Conflict(
            f'"{database.description}" holds tables of other programs: {", ".join(foreign)}',
            hint="use another database, or on PostgreSQL a schema of its own: "
            "set USERMGR_DB_SCHEMA and run usermgr schema init --create-schema",
        )
    adoption = adopt(
        connection,
        database.description,
        lambda command, to: _run_alembic(connection, command, to),
        merge,
    )
    _run_alembic(connection, "upgrade", "head")
    record_adoption(connection, adoption, **author)
    return "adopted", adoption.told


def _upgrade(
    database: Database,
    connection: Connection,
    present: str,
    target: str,
    merge: Merge,
    author: dict[str, str],
) -> list[str]:
    if present == target:
        return []
    adoption = Adoption()
    if present == FIRST_REVISION:
        adoption = prepare(connection, database.description, merge)
    _run_alembic(connection, "upgrade", target)
    if present == FIRST_REVISION and target == HEAD_REVISION:
        record_adoption(connection, adoption, **author)
    titles = revision_titles().items()
    applied = [f"applied {title}" for name, title in titles if present < name <= target]
    return adoption.told + applied


def _known_revision(database: Database, connection: Connection) -> str | None:
    """The revision of the database, if it is one of this program's."""
    revision = current_revision(database, connection)
    if revision is None or revision in revision_titles():
        return revision
    raise stale_schema(database.description, revision, schema=database.settings.db_schema)


def _require_revision(database: Database, connection: Connection) -> str:
    revision = _known_revision(database, connection)
    if revision is not None:
        return revision
    if _existing_tables(database, connection) & set(TABLES):
        raise unmanaged_tables(database.description)
    raise stale_schema(database.description, None, schema=database.settings.db_schema)


def _target(revision: str) -> str:
    if revision == "head":
        return HEAD_REVISION
    if revision not in revision_titles():
        raise InvalidInput(
            f'no revision "{visible(revision)}"',
            hint=f"the revisions are {', '.join(revision_titles())}, head, "
            "and for a downgrade base",
        )
    return revision


def _existing_tables(database: Database, connection: Connection) -> set[str]:
    if database.is_sqlite:
        rows = connection.execute(text("SELECT lower(name) AS name FROM sqlite_master"))
        return {row.name for row in rows} & set(OUR_TABLES)
    prefix = quoted_schema(database.settings.db_schema)
    rows = connection.execute(
        text(
            "SELECT name FROM unnest(CAST(:names AS text[])) AS name"
            " WHERE to_regclass(:prefix || name) IS NOT NULL"
        ),
        {"names": list(OUR_TABLES), "prefix": prefix},
    )
    return {row.name for row in rows}


def _run_alembic(connection: Connection, command: str, revision: str) -> None:
    import alembic.command
    from alembic.config import Config

    config = Config(stdout=io.StringIO())
    folder = str(migrations_folder())
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    getattr(alembic.command, command)(config, revision)
