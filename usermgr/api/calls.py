"""A request as a route sees it: its transaction, who sends it, and its conditions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from usermgr.api import preconditions
from usermgr.api.problems import Problem
from usermgr.api.repeats import HEADER, pack, repeatable_of, unpack
from usermgr.api.requests import RequestInfo, info_of
from usermgr.api.runtime import Runtime
from usermgr.db.engine import Operation
from usermgr.services.repeating import Repeatable, find_answer, keep_answer
from usermgr.services.tokens import Bearer

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Call:
    """One request of somebody who may make it."""

    runtime: Runtime
    request: Request
    info: RequestInfo
    bearer: Bearer
    repeatable: Repeatable | None

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only transaction."""
        with self.runtime.database.read() as connection:
            yield connection

    @contextlib.contextmanager
    def operation(self, command: str, *, dry_run: bool = False) -> Iterator[Operation]:
        """The operation of a request that changes something, called as on the command line."""
        database, actor = self.runtime.database, self.bearer.actor
        with database.operation(command, actor, source="http", dry_run=dry_run) as op:
            yield op
        if not dry_run:
            self.info.operation_id = op.id if op.counts else None
            self.runtime.metrics.changed(op.counts)

    def once(
        self, command: str, act: Callable[[Operation], Response], *, dry_run: bool = False
    ) -> Response:
        """What ``act`` answers inside the operation. With an Idempotency-Key it acts once, and a
        repetition gets the same answer."""
        repeatable = self.repeatable
        if repeatable is None:
            with self.operation(command, dry_run=dry_run) as op:
                return act(op)
        operation = self.operation(command, dry_run=dry_run)
        with self.runtime.repeats.alone(repeatable), operation as op:
            before = find_answer(op, repeatable)
            if before is not None:
                return unpack(before)
            response = act(op)
            keep_answer(op, repeatable, pack(response))
        return response

    def require_match(self, tag: Callable[[], str]) -> None:
        """Raise the problem of a change whose If-Match is not the present ``tag``.

        The tag is asked for only where there is a condition; whoever asks must lock what it is of.
        """
        required = bool(self.runtime.settings.http_require_match)
        preconditions.check(self.request.headers.getlist("if-match"), tag, required=required)


async def _call(request: Request) -> Call:
    call = _plain_call(request)
    repeatable = await repeatable_of(request, call.bearer)
    return call if repeatable is None else replace(call, repeatable=repeatable)


async def _streamed_call(request: Request) -> Call:
    # What makes a request the same as another one is its whole body, and that may be large.
    if HEADER in request.headers:
        told = "Idempotency-Key is not for what streams"
        raise Problem(400, told, hint="users:import can be repeated with on_conflict=skip")
    return _plain_call(request)


def _plain_call(request: Request) -> Call:
    info = info_of(request.scope)
    if info.bearer is None:
        raise RuntimeError("a public path has no bearer")
    return Call(request.app.state.runtime, request, info, info.bearer, None)


Called = Annotated[Call, Depends(_call)]
"""What each route takes first. It is a coroutine's result, so that it costs no change of thread."""

Streamed = Annotated[Call, Depends(_streamed_call)]
"""What a route takes that reads or writes more than memory holds."""
