"""Whether the triggers that keep the history append-only do what the migrations made them for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, text

_KEYS: Final = {
    "operations": ("id",),
    "changes": ("id",),
    "seals": ("id",),
    "seal_blocks": ("seal_id", "number"),
    "sealed_operations": ("operation_id",),
}
"""The tables that can only be added to, with their keys."""

_ERASED: Final = (
    "NEW.digest IS NOT NULL AND OLD.digest IS NULL AND NEW.name = '' AND NEW.salt IS NULL"
    ' AND NEW."before" IS NULL AND NEW."after" IS NULL AND NEW.id = OLD.id'
    " AND NEW.operation_id = OLD.operation_id AND NEW.entity = OLD.entity"
    " AND NEW.entity_id = OLD.entity_id AND NEW.action = OLD.action"
)
"""The one update of a change that is allowed: its images give way to their digest."""

_RAISE: Final = (
    "RAISE EXCEPTION 'the history is append-only: % of % is refused', TG_OP, TG_TABLE_NAME"
    " USING ERRCODE = 'restrict_violation'; END"
)
_FUNCTIONS: Final = {
    "usermgr_append_only": f"BEGIN {_RAISE}",
    "usermgr_erase_only": f"BEGIN IF {_ERASED} THEN RETURN NEW; END IF; {_RAISE}",
}
_POSTGRESQL: Final = """
    SELECT tgname, pg_get_triggerdef(oid, true) FROM pg_trigger
    WHERE tgenabled IN ('O', 'A') AND NOT tgisinternal
    AND tgrelid IN (SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) AS name)
"""
_SQLITE: Final = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"


def find_trigger_differences(connection: Connection) -> list[str]:
    """What is missing, disabled or does something else, in words."""
    on_postgresql = connection.dialect.name == "postgresql"
    if on_postgresql:
        rows = connection.execute(text(_POSTGRESQL), {"tables": list(_KEYS)}).all()
    else:
        rows = connection.execute(text(_SQLITE)).all()
    present = {name: _one_line(definition) for name, definition in rows}
    found = []
    for name, definition in _expected_postgresql() if on_postgresql else _expected_sqlite():
        if name not in present:
            found.append(f"there is no trigger {name}, or it is disabled")
        elif present[name] != definition:
            found.append(f"the trigger {name} does something else than in this program")
    if on_postgresql:
        found += [
            f"the function {name} does something else than in this program"
            for name, body in _FUNCTIONS.items()
            if not _has_body(connection, name, body)
        ]
    return found


def _expected_postgresql() -> Iterator[tuple[str, str]]:
    for table in _KEYS:
        name = f"{table}_append_only"
        events = "DELETE OR TRUNCATE" if table == "changes" else "DELETE OR UPDATE OR TRUNCATE"
        when = f"BEFORE {events} ON {table} FOR EACH STATEMENT"
        yield name, f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION usermgr_append_only()"
    when = "BEFORE UPDATE ON changes FOR EACH ROW"
    yield (
        "changes_erase_only",
        f"CREATE TRIGGER changes_erase_only {when} EXECUTE FUNCTION usermgr_erase_only()",
    )


def _expected_sqlite() -> Iterator[tuple[str, str]]:
    for table, key in _KEYS.items():
        same = " AND ".join(f"{column} = NEW.{column}" for column in key)
        allowed = f" WHEN NOT ({_ERASED})" if table == "changes" else ""
        for event, when in (
            ("UPDATE", f"BEFORE UPDATE ON {table}{allowed}"),
            ("DELETE", f"BEFORE DELETE ON {table}"),
            (
                "REPLACE",
                f"BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})",
            ),
        ):
            name = f"{table}_no_{event.lower()}"
            message = f"the history is append-only: {event} of {table} is refused"
            action = f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            yield name, f"CREATE TRIGGER {name} {when} {action}"


def _has_body(connection: Connection, name: str, wanted: str) -> bool:
    """Whether the function that the triggers find has the body of the migration."""
    body = connection.execute(
        text("SELECT prosrc FROM pg_proc WHERE oid = to_regproc(:name)"), {"name": name}
    ).scalar()
    return _one_line(body or "") == wanted


def _one_line(source: str) -> str:
    return " ".join(source.split())
