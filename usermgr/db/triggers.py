"""Whether the triggers that keep the history append-only do what the migrations made them for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, text

_TABLES: Final = ("operations", "changes")
_FUNCTION: Final = "usermgr_append_only"
_BODY: Final = (
    "BEGIN RAISE EXCEPTION 'the history is append-only: % of % is refused', TG_OP, TG_TABLE_NAME"
    " USING ERRCODE = 'restrict_violation'; END"
)
_POSTGRESQL: Final = """
    SELECT tgname, pg_get_triggerdef(oid, true) FROM pg_trigger
    WHERE tgenabled IN ('O', 'A') AND NOT tgisinternal
    AND tgrelid IN (to_regclass('operations'), to_regclass('changes'))
"""
_SQLITE: Final = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"


def find_trigger_differences(connection: Connection) -> list[str]:
    """What is missing, disabled or does something else, in words."""
    on_postgresql = connection.dialect.name == "postgresql"
    rows = connection.execute(text(_POSTGRESQL if on_postgresql else _SQLITE)).all()
    present = {name: _one_line(definition) for name, definition in rows}
    found = []
    for name, definition in _expected_postgresql() if on_postgresql else _expected_sqlite():
        if name not in present:
            found.append(f"there is no trigger {name}, or it is disabled")
        elif present[name] != definition:
            found.append(f"the trigger {name} does something else than in this program")
    if on_postgresql and not _has_right_function(connection):
        found.append(f"the function {_FUNCTION} does something else than in this program")
    return found


def _expected_postgresql() -> Iterator[tuple[str, str]]:
    for table in _TABLES:
        name = f"{table}_append_only"
        when = f"BEFORE DELETE OR UPDATE OR TRUNCATE ON {table} FOR EACH STATEMENT"
        yield name, f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {_FUNCTION}()"


def _expected_sqlite() -> Iterator[tuple[str, str]]:
    for table in _TABLES:
        for event, when in (
            ("UPDATE", f"BEFORE UPDATE ON {table}"),
            ("DELETE", f"BEFORE DELETE ON {table}"),
            (
                "REPLACE",
                f"BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)",
            ),
        ):
            name = f"{table}_no_{event.lower()}"
            message = f"the history is append-only: {event} of {table} is refused"
            action = f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            yield name, f"CREATE TRIGGER {name} {when} {action}"


def _has_right_function(connection: Connection) -> bool:
    """Whether the function that the triggers find has the body of the migration."""
    body = connection.execute(
        text("SELECT prosrc FROM pg_proc WHERE oid = to_regproc(:name)"), {"name": _FUNCTION}
    ).scalar()
    return _one_line(body or "") == _BODY


def _one_line(source: str) -> str:
    return " ".join(source.split())
