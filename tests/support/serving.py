"""A server as a process of its own, and what a client needs to talk to it."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.support.commands import Result, process_environment, run_inside
from tests.support.databases import open_database
from usermgr.records import SCOPES, NewToken, Scope
from usermgr.services.tokens import create_token

_NO_HTTP = '"message": "Invalid HTTP request received."'

CHEAP = {"USERMGR_HTTP_RATE": "0"}
"""Tests ask more often than clients may."""


@dataclass(frozen=True)
class Face:
    """A running server, its database, and tokens: one for everything, and one for each scope."""

    url: str
    database_url: str
    process: subprocess.Popen[str]
    tokens: Mapping[str, str] = field(repr=False)
    client: httpx.Client
    log: Path

    def __call__(
        self,
        method: str,
        path: str,
        *,
        token: str | None = "all",  # noqa: S107 - the name of one
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Ask with the token of that name; None for none."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {self.tokens.get(token, token)}"
        return self.client.request(method, path, headers=sent, **more)

    def logged(self, request_id: str) -> dict[str, Any]:
        """The line of the log about the request; it is written when the answer is on its way."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            lines = [json.loads(line) for line in _lines(self.log) if line.startswith("{")]
            if found := [line for line in lines if line.get("request_id") == request_id]:
                return dict(found[0])
            time.sleep(0.02)
        raise AssertionError(request_id)

    def cli(self, *argv: str, stdin: str = "") -> Result:
        """A command line on the same database, inside this process."""
        return run_inside(argv, stdin, _environment(self.database_url))


@contextlib.contextmanager
def serving(
    database_url: str, *options: str, env: Mapping[str, str] | None = None
) -> Iterator[Face]:
    """A server on any free port. When the block ends and the server still runs, it is asked to end,
    and must do so well."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = folder / "stderr"
        process = subprocess.Popen(
            [sys.executable, "-m", "usermgr", "serve", "--port", "0", *options],
            env={**process_environment(), **_environment(database_url), **CHEAP, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=stack.enter_context(log.open("w")),
            text=True,
        )
        stack.callback(process.communicate)
        stack.callback(process.kill)
        client = httpx.Client(base_url=_address(process, log), timeout=30)
        with client:
            # It listens before it serves, and a signal in between ends it at once.
            client.get("/livez").raise_for_status()
            tokens = make_tokens(database_url)
            yield Face(str(client.base_url), database_url, process, tokens, client, log)
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=40)
            lines = [line for line in _lines(log)[1:] if _NO_HTTP not in line]
            told = [line for line in lines if '"logger"' in line or line[:1] != "{"]
            assert (process.returncode, told) == (0, [])


def make_tokens(database_url: str) -> dict[str, str]:
    """A token for everything, one for all that reads, and one for each scope; by these names."""
    wanted: dict[str, tuple[Scope, ...]] = {
        "all": SCOPES,
        "read": tuple(scope for scope in SCOPES if scope.endswith(":read")),
        **{scope: (scope,) for scope in SCOPES},
    }
    database = open_database(database_url)
    end = datetime.now(UTC) + timedelta(days=1)
    made = {}
    with database.operation("token create", "tester") as op:
        for name, scopes in wanted.items():
            new = NewToken(f"{name} {secrets.token_hex(4)}", scopes, end)
            made[name] = create_token(op, new)[1]
    return made


def problem(response: httpx.Response) -> tuple[int, str, str]:
    """Status, code and detail of an error; the rest of it must be as it is always."""
    told = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert told["status"] == response.status_code
    assert told["request_id"] == response.headers["x-request-id"]
    return response.status_code, told["code"], told["detail"]


def _environment(database_url: str) -> dict[str, str]:
    return {"USERMGR_DATABASE_URL": database_url, "USERMGR_ACTOR": "tester"}


def _address(process: subprocess.Popen[str], log: Path) -> str:
    end = time.monotonic() + 20
    while not _lines(log) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    line = (_lines(log) or [""])[0]
    found = re.fullmatch(r"note: serving on (http://\S+)", line)
    assert found, line
    return found[1]


def _lines(log: Path) -> list[str]:
    """The complete lines."""
    return log.read_text().split("\n")[:-1]
