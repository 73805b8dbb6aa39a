"""/v1/users:import: any number of users, in constant memory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Annotated, Any, BinaryIO, Final, Literal, cast

from fastapi import Query
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from usermgr.api.answers import answer, values_of
from usermgr.api.auth import require_scope
from usermgr.api.bodies import Boolean
from usermgr.api.calls import Call, Streamed
from usermgr.api.problems import Problem
from usermgr.api.routing import Endpoints
from usermgr.errors import UserMgrError
from usermgr.formats.files import temporary_file
from usermgr.formats.inputs import BLOCK, InputFile, write_block
from usermgr.records import ImportReport
from usermgr.services.import_errors import import_failed
from usermgr.services.import_requests import ImportRequest, make_source, read_options, read_rules
from usermgr.services.import_running import ImportFace, ImportRun, Ran, first_problems
from usermgr.services.importing import ImportOptions
from usermgr.services.problems import Problems
from usermgr.services.rows import RowRules

ENDPOINTS = Endpoints("users")

REJECTS: Final = 100
"""How many of the bad rows a report tells."""

MEDIA_TYPES: Final = {
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "application/json": "json",
}

Format = Literal["csv", "tsv", "jsonl", "json"]


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was not stored, and why; ``code`` is what reports count by."""

    line: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportAnswer(ImportReport):
    """The report of an import; ``rejects`` are the first hundred of the rows that were rejected."""

    rejects: tuple[Reject, ...]


_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {name: {"schema": {"type": "string"}} for name in MEDIA_TYPES},
    }
}


@ENDPOINTS.add(
    "POST",
    "/users:import",
    "users:write",
    shows=ImportAnswer,
    problems=(404, 408, 409, 415),
    extra=_BODY,
)
async def import_users(
    call: Streamed,
    format: Annotated[
        Format | None, Query(description="Told by Content-Type unless given.")
    ] = None,
    mapping: Annotated[
        list[str], Query(alias="map", description="FIELD=COLUMN: read a field from another column.")
    ] = [],  # noqa: B006 - FastAPI copies it
    ignore_column: Annotated[list[str], Query(description="A column to pass over.")] = [],  # noqa: B006
    delimiter: Annotated[str | None, Query(description="Of csv; , or ; unless given.")] = None,
    encoding: Annotated[str | None, Query(description="UTF-8 unless given.")] = None,
    on_conflict: Literal["fail", "skip", "update"] = "fail",
    on_error: Literal["fail", "skip"] = "fail",
    max_errors: Annotated[int | None, Query(ge=0)] = None,
    create_roles: Boolean = False,
    create_claims: Boolean = False,
    default_role: str | None = None,
    passwords: Literal["keep", "set"] = "keep",
    exclusive: Boolean = False,
    dry_run: Boolean = False,
    with_ids: Boolean = False,
    safe: Boolean = False,
) -> Response:
    """Create or change users from a file; all rows are stored, or none, unless on_error is skip.

    Roles and claims that are missing are created by tokens that may create them.
    """
    request = ImportRequest(
        format=format or _format(call.request),
        mapping=mapping,
        ignored_columns=ignore_column,
        delimiter=delimiter,
        encoding=encoding,
        on_conflict=on_conflict,
        on_error=on_error,
        max_errors=max_errors,
        create_roles=create_roles,
        create_claims=create_claims,
        default_role=default_role,
        passwords=passwords,
        exclusive=exclusive,
        dry_run=dry_run,
        with_ids=with_ids,
        safe=safe,
    )
    if create_roles:
        require_scope(call.bearer, "roles:write")
    if create_claims:
        require_scope(call.bearer, "claims:write")
    with _respelled():
        job = _Job(call, request, read_options(request), read_rules(request, call.runtime.given))
    with call.runtime.transfers.turn(), temporary_file("w+b", buffering=0) as spool:
        await _receive(call.request, spool)
        return await call.runtime.transfers.run(lambda: job.work(spool))


@dataclass(frozen=True, slots=True)
class _Job:
    call: Call
    request: ImportRequest
    options: ImportOptions
    rules: RowRules

    def work(self, spool: IO[Any]) -> Response:
        """Import what was received, with the timeouts and connections of the command line."""
        with (
            _respelled(),
            contextlib.closing(self.call.runtime.other_database()) as database,
            contextlib.closing(Problems()) as problems,
            contextlib.closing(
                make_source(self.request, InputFile(cast(BinaryIO, spool), "the body"), self.rules)
            ) as source,
        ):
            face = ImportFace(
                read=database.read,
                operation=lambda dry_run: database.operation(
                    "user import", self.call.bearer.actor, source="http", dry_run=dry_run
                ),
            )
            run = ImportRun(face, source, self.options, problems, dry_run=self.request.dry_run)
            return self._told(run.go())

    def _told(self, ran: Ran) -> Response:
        report, rejects = ran.report, _rejects(ran.problems)
        if ran.failure is not None:
            error = import_failed(ran, more=None)
            error.details = {**asdict(report), "rejects": rejects}
            raise error
        self.call.info.operation_id = report.operation_id
        if report.operation_id is not None:
            changed = {"user.create": report.created, "user.update": report.updated}
            self.call.runtime.metrics.changed(changed)
        return answer({**values_of(report), "rejects": rejects})


def _rejects(problems: Problems) -> list[dict[str, Any]]:
    found = first_problems(problems, REJECTS)
    return [asdict(Reject(p.line, p.code, p.reason)) for p in found]


def _format(request: Request) -> str | None:
    """What Content-Type says; what a client sends that was not told anything is not believed."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given in ("", "application/octet-stream"):
        return None
    if given not in MEDIA_TYPES:
        raise Problem(
            415,
            "the body must be csv, tsv, jsonl or json",
            hint="send Content-Type: " + ", ".join(MEDIA_TYPES) + "; or name the format",
        )
    return MEDIA_TYPES[given]


async def _receive(request: Request, spool: IO[Any]) -> None:
    """The body into a file: the rows are read more than once, and nobody waits for a client."""
    transfers = request.app.state.runtime.transfers
    pending = bytearray()
    try:
        async for part in request.stream():
            pending += part
            if len(pending) >= BLOCK:
                await transfers.run(
                    lambda block=bytes(pending): write_block(spool, block, "the body")
                )
                pending.clear()
    except ClientDisconnect as error:
        raise Problem(400, "the connection ended before the body did") from error
    await transfers.run(lambda: write_block(spool, bytes(pending), "the body"))
    spool.seek(0)


_OPTION: Final = re.compile(r'"[^"]*"|--([a-z][a-z-]*)')


@contextlib.contextmanager
def _respelled() -> Iterator[None]:
    """Errors of the block name parameters of the query where they name options."""
    try:
        yield
    except UserMgrError as error:
        error.message = _as_parameters(error.message)
        error.hint = error.hint and _as_parameters(error.hint)
        raise


def _as_parameters(text: str) -> str:
    return _OPTION.sub(lambda m: m[0] if m[1] is None else m[1].replace("-", "_"), text)
