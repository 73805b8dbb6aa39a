"""/v1/users:export: any number of users, streamed."""

from __future__ import annotations

import contextlib
from typing import IO, Annotated, Any, Final, Literal

from fastapi import Query
from starlette.responses import Response

from usermgr.api.auth import require_scope
from usermgr.api.bodies import Boolean
from usermgr.api.calls import Streamed
from usermgr.api.routing import Endpoints
from usermgr.api.streaming import StreamedText
from usermgr.formats.whens import parse_when
from usermgr.records import UserFilter
from usermgr.services import exporting

ENDPOINTS = Endpoints("users")

Format = Literal["csv", "tsv", "jsonl", "json"]

_MEDIA_TYPES: Final = {
    "csv": "text/csv; charset=utf-8",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "json": "application/json",
}
_ANSWER: Final[dict[str, Any]] = {
    "responses": {
        "200": {
            "content": {
                name.partition(";")[0]: {"schema": {"type": "string"}}
                for name in _MEDIA_TYPES.values()
            }
        }
    }
}


@ENDPOINTS.add("GET", "/users:export", "users:read", shows=None, problems=(404,), extra=_ANSWER)
async def export_users(
    call: Streamed,
    format: Format = "csv",
    role: Annotated[str | None, Query(description="Name or id.")] = None,
    claim: Annotated[list[str], Query(description="Held by the user.")] = [],  # noqa: B006
    active: Boolean | None = None,
    search: Annotated[str | None, Query(description="Text in name or e-mail.")] = None,
    created_since: Annotated[str | None, Query(description="A date, a time, or 7d.")] = None,
    fields: Annotated[str | None, Query(description="Names with commas between.")] = None,
    with_password_hashes: Boolean = False,
    with_ids: Boolean = False,
    safe: Boolean = False,
) -> Response:
    """Write users as a file that users:import reads: a snapshot, streamed.

    Hashes of passwords are given to tokens only that may write users.
    """
    if with_password_hashes:
        require_scope(call.bearer, "users:write")
    if safe:
        exporting.require_cells(format)
    chosen = exporting.choose_fields(
        fields, with_ids=with_ids, with_password_hashes=with_password_hashes
    )
    since = None if created_since is None else parse_when(created_since)
    wanted = UserFilter(role, tuple(claim), active, search, since)

    def write(out: IO[str]) -> None:
        database = call.runtime.other_database()
        with contextlib.closing(database), database.read() as connection:
            exporting.export_users(
                connection, out, wanted, format_name=format, fields=chosen, safe=safe
            )

    return StreamedText(write, call.runtime.transfers, media_type=_MEDIA_TYPES[format])
