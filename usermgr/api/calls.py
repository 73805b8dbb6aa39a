"""A request as a route sees it: its transaction, who sends it, and its conditions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from usermgr.api.requests import RequestInfo, info_of
from usermgr.api.runtime import Runtime
from usermgr.db.engine import Operation
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

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only transaction."""
        with self.runtime.database.read() as connection:
            yield connection

    @contextlib.contextmanager
    def operation(self, command: str) -> Iterator[Operation]:
        """The operation of a request that changes something, called as on the command line."""
        database = self.runtime.database
        with database.operation(command, self.bearer.actor, source="http") as op:
            yield op
        self.info.operation_id = op.id if op.counts else None
        self.runtime.metrics.changed(op.counts)


async def _call(request: Request) -> Call:
    info = info_of(request.scope)
    if info.bearer is None:
        raise RuntimeError("a public path has no bearer")
    return Call(request.app.state.runtime, request, info, info.bearer)


Called = Annotated[Call, Depends(_call)]
"""What each route takes first. It is a coroutine's result, so that it costs no change of thread."""
