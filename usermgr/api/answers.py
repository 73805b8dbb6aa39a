"""Records as the bodies of answers.

They are written here and not through response models: that would check again what the services
made, and take as long as the database does.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from starlette.responses import Response

from usermgr.formats.writers import instant
from usermgr.records import User

_JSON = "application/json"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Items(Generic[T]):
    """A list, or one page of it. ``next`` is the ``cursor`` of the next one, null at the end."""

    items: list[T]
    next: str | None


def answer(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """The record, or whatever is made of records, lists and objects, as JSON."""
    body = json.dumps(content, default=_plain, ensure_ascii=False, separators=(",", ":"))
    told = {"Cache-Control": "no-store", **(headers or {})}
    return Response(body.encode(), status, told, media_type=_JSON)


def items(
    records: Sequence[Any], cursor: str | None = None, *, link: str | None = None, **more: Any
) -> Response:
    """A list, or one page of it; ``cursor`` and ``link`` lead to the next one."""
    headers = {"Link": f'<{link}>; rel="next"'} if link else {}
    return answer({"items": records, "next": cursor, **more}, headers=headers)


def values_of(record: Any) -> dict[str, Any]:
    """The record's fields by their names, as they are."""
    return {name: getattr(record, name) for name in _names(record.__class__)}


def user_tag(user: User) -> str:
    """The ETag of a user: the version, which every change of the user counts up."""
    return f'"{user.version}"'


@functools.cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant(value)
    if is_dataclass(value):
        return values_of(value)
    raise TypeError(f"{type(value).__name__} is not written as JSON")
