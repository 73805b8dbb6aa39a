"""Which fields each record shows: all of them in machine formats, the brief ones in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from usermgr.errors import InvalidInput
from usermgr.names import visible
from usermgr.records import (
    Change,
    OperationRecord,
    PasswordGroup,
    PasswordRule,
    SettingRow,
    Token,
    User,
)

BRIEF: dict[type, tuple[str, ...]] = {
    User: ("id", "name", "email", "role", "claims", "active"),
    OperationRecord: ("id", "started_at", "actor", "command", "counts"),
    Token: ("id", "name", "scopes", "expires_at", "last_used_at", "revoked_at"),
    Change: ("at", "actor", "operation_id", "action", "changed"),
    SettingRow: ("setting", "value", "source"),
    PasswordRule: ("rule", "value", "source"),
    PasswordGroup: ("strength", "format", "users", "inactive", "unchanged_since"),
}


@dataclass(frozen=True, slots=True)
class View:
    """The fields of a record type, and those of them that a table of many shows."""

    fields: tuple[str, ...]
    brief: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def choose(self, wanted: str | None, *, brief: bool) -> tuple[str, ...]:
        """The fields to show. Raises InvalidInput for one that does not exist."""
        if wanted is None:
            return self.brief if brief else self.fields
        chosen = tuple(name.strip() for name in wanted.split(",") if name.strip())
        known = self.fields + self.optional
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            what = f'unknown field "{visible(unknown[0])}"' if unknown else "no field was named"
            raise InvalidInput(what, hint="the fields are " + ", ".join(known))
        return tuple(dict.fromkeys(chosen))


def view_of(record_type: type[Any], *, optional: Sequence[str] = ()) -> View:
    """The view of a record type; ``optional`` fields are shown when they have a value."""
    names = tuple(field.name for field in fields(record_type))
    return View(names, BRIEF.get(record_type, names), tuple(optional))
