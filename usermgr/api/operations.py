"""/v1/operations: the history, and undo."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Query
from starlette.responses import Response

from usermgr.api.answers import Items, answer, items
from usermgr.api.bodies import Boolean, Id, Limit, UndoBody
from usermgr.api.calls import Called
from usermgr.api.routing import PREFIX, Endpoints
from usermgr.db.engine import Operation
from usermgr.names import MAX_ID
from usermgr.records import OperationDetail, OperationRecord, UndoReport
from usermgr.services import history
from usermgr.services.undoing import undo_operation

ENDPOINTS = Endpoints("operations")


@ENDPOINTS.add("GET", "/operations", "operations:read", shows=Items[OperationRecord])
def list_operations(
    call: Called,
    limit: Limit = 100,
    cursor: Annotated[
        int | None, Query(ge=1, le=MAX_ID, description="``next`` of the page before.")
    ] = None,
    total: Annotated[Boolean, Query(description="Count all there are.")] = False,
) -> Response:
    """The newest operations first, page by page."""
    with call.read() as connection:
        found, number = history.list_operations(
            connection, limit=limit + 1, before=cursor, count=total
        )
    page = found[:limit]
    after = str(page[-1].id) if len(found) > limit else None
    link = None if after is None else f"{PREFIX}/operations?limit={limit}&cursor={after}"
    return items(page, after, link=link, **({"total": number} if total else {}))


@ENDPOINTS.add(
    "GET", "/operations/{id:id}", "operations:read", shows=OperationDetail, problems=(404,)
)
def get_operation(call: Called, id: Id) -> Response:
    """One operation with its changes, in the order they were made."""
    with call.read() as connection:
        return answer(history.find_operation(connection, id))


@ENDPOINTS.add(
    "POST",
    "/operations/{id:id}:undo",
    "operations:write",
    shows=UndoReport,
    problems=(404, 409),
)
def undo(call: Called, id: Id, body: Annotated[UndoBody | None, Body()] = None) -> Response:
    """Do backwards what an operation did, as an operation of its own. What changed since is left,
    and counted in ``left``; with ``strict`` it is a conflict."""
    options = body or UndoBody()

    def act(op: Operation) -> Response:
        done = undo_operation(op, id, strict=options.strict, dry_run=options.dry_run)
        return answer(done.report)

    return call.once("undo", act, dry_run=options.dry_run)
