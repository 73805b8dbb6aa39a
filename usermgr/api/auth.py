"""Who sends a request: bearer tokens (RFC 6750), and their scopes.

A token that was found valid is believed for five seconds without asking the database again. So a
revocation, a rotation, and a user who is disabled take effect within that time in every process.
"""

from __future__ import annotations

import contextlib
import hmac
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from usermgr.api.problems import Problem, problem_of, send_problem
from usermgr.api.requests import info_of
from usermgr.db.engine import Database
from usermgr.errors import UserMgrError
from usermgr.records import SCOPES, Token
from usermgr.records import Scope as TokenScope
from usermgr.services.token_text import Presented, read_token, secret_digest
from usermgr.services.tokens import Bearer, find_bearer, note_use, use_is_old

BELIEVED_SECONDS: Final = 5.0
REMEMBERED: Final = 10_000
"""Tokens that are remembered at most."""

DEVELOPER: Final = 0
"""The id of the token that lives in this process only; no stored one has it."""

_CHALLENGE: Final = 'Bearer realm="usermgr"'


class _Known(NamedTuple):
    """A token that was found valid, and when."""

    bearer: Bearer
    at: float


class Bearers:
    """Who bears which token: looked up in the database, and believed for a few seconds.

    ``developer`` is the digest of the secret of one more token, which may do everything.
    """

    def __init__(self, database: Database, *, developer: str | None = None) -> None:
        self._database = database
        self._developer = developer
        self._known: dict[Presented, _Known] = {}
        self._notes = ThreadPoolExecutor(1, "usermgr-note")

    async def find(self, text: str) -> Bearer | None:
        """Who bears the token at this moment; None where it is not valid. Raises Unavailable."""
        presented = read_token(text)
        if presented is None:
            return None
        # The secret itself is not kept.
        key = Presented(presented.id, secret_digest(presented.secret))
        known = self._known.get(key)
        if known is None or time.monotonic() - known.at > BELIEVED_SECONDS:
            self._known.pop(key, None)
            bearer = await run_in_threadpool(self._look_up, presented, key.secret)
            if bearer is None:
                return None
            known = self._remember(key, bearer)
        now = datetime.now(UTC)
        return known.bearer if known.bearer.token.expires_at > now else None

    def close(self) -> None:
        """Let what is being noted end."""
        self._notes.shutdown(wait=True, cancel_futures=True)

    def _look_up(self, presented: Presented, digest: str) -> Bearer | None:
        if presented.id == DEVELOPER:
            is_developer = hmac.compare_digest(self._developer or "", digest)
            return _developer() if is_developer else None
        now = datetime.now(UTC)
        with self._database.read() as connection:
            bearer = find_bearer(connection, presented, now)
        if bearer is not None and use_is_old(bearer.token, now):
            with contextlib.suppress(RuntimeError):  # At the end nothing more is noted.
                self._notes.submit(self._note_use, bearer.token.id, now)
        return bearer

    def _remember(self, key: Presented, bearer: Bearer) -> _Known:
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        known = self._known[key] = _Known(bearer, time.monotonic())
        return known

    def _note_use(self, token_id: int, now: datetime) -> None:
        # It matters less than the request, and is tried again soon.
        with (
            contextlib.suppress(UserMgrError),
            self._database.write(look="usermgr token list") as (connection, _),
        ):
            note_use(connection, token_id, now)


class Authentication:
    """Refuses every request without a valid token, but for the paths that are ``public``."""

    def __init__(self, app: ASGIApp, bearers: Bearers, public: Collection[str]) -> None:
        self._app = app
        self._bearers = bearers
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] not in self._public:
            info = info_of(scope)
            try:
                info.bearer = await self._authenticate(scope)
            except (Problem, UserMgrError) as error:
                told = problem_of(error) if isinstance(error, UserMgrError) else error
                await send_problem(told, scope, receive, send, request_id=info.id)
                return
        await self._app(scope, receive, send)

    async def _authenticate(self, scope: Scope) -> Bearer:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) > 1:
            raise Problem(400, "there is more than one Authorization header")
        scheme, _, text = given[0].decode("latin-1").partition(" ") if given else ("", "", "")
        if scheme.lower() != "bearer":
            raise Problem(401, "a bearer token is needed", headers=_challenge())
        bearer = await self._bearers.find(text.strip())
        if bearer is None:
            told = "the token is not valid: it is unknown, expired or revoked"
            raise Problem(401, told, headers=_challenge("invalid_token"))
        return bearer


def require_scope(bearer: Bearer | None, scope: TokenScope) -> None:
    """Raise the problem of a token that may not do what the scope says."""
    if bearer is None or scope not in bearer.token.scopes:
        headers = _challenge("insufficient_scope", scope)
        raise Problem(403, f'the token lacks the scope "{scope}"', headers=headers)


def _challenge(error: str | None = None, scope: str | None = None) -> dict[str, str]:
    told = f', error="{error}"' if error else ""
    told += f', scope="{scope}"' if scope else ""
    return {"WWW-Authenticate": _CHALLENGE + told}


def _developer() -> Bearer:
    now = datetime.now(UTC)
    end = now + timedelta(days=365)
    return Bearer(Token(DEVELOPER, "dev", SCOPES, None, now, end, now, None))
