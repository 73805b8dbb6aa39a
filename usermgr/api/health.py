"""/livez looks at the process alone, /readyz at the database and its schema too."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from starlette.responses import Response

from usermgr.api.answers import answer
from usermgr.config import Settings
from usermgr.db.engine import Database
from usermgr.errors import UserMgrError

DEADLINE: Final = 1.0
KEPT_SECONDS: Final = 2.0


class Readiness:
    """Whether the database answers and has this program's schema; asked every two seconds at most.

    It has a thread and connections of its own: a server whose pool is busy is ready nevertheless.
    """

    def __init__(self, settings: Settings) -> None:
        quick = replace(settings, connect_timeout=DEADLINE, statement_timeout=DEADLINE)
        self._database = Database(replace(quick, lock_timeout=DEADLINE))
        self._thread = ThreadPoolExecutor(1, "usermgr-readyz")
        self._asked: asyncio.Future[str | None] | None = None
        self._problem: str | None = "the database was not asked yet"
        self._at = float("-inf")

    async def problem(self) -> str | None:
        """What keeps the server from being ready, None for nothing."""
        if time.monotonic() - self._at > KEPT_SECONDS:
            # Whoever asks meanwhile waits for the same answer.
            if self._asked is None or self._asked.done():
                loop = asyncio.get_running_loop()
                self._asked = loop.run_in_executor(self._thread, self._ask)
            problem: str | None = "the database does not answer in time"
            with contextlib.suppress(TimeoutError):
                problem = await asyncio.wait_for(asyncio.shield(self._asked), DEADLINE)
            self._problem, self._at = problem, time.monotonic()
        return self._problem

    def close(self) -> None:
        """Stop asking."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ask(self) -> str | None:
        try:
            with self._database.read():
                return None
        except UserMgrError as error:
            return error.code
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is not ready
            return type(error).__name__


def live() -> Response:
    """The process answers."""
    return answer({"status": "ok"})


async def ready(readiness: Readiness, *, is_stopping: bool) -> Response:
    """The process takes requests, and its database answers with the right schema."""
    problem = "stopping" if is_stopping else await readiness.problem()
    told: dict[str, Any] = {"status": "ok"} if problem is None else {"status": problem}
    return answer(told, status=200 if problem is None else 503)
