"""Running ``usermgr`` the way people and scripts do: a line of words, an input, three results."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PROJECT = Path(__file__).resolve().parents[2]

ACTOR = "tester"
"""Who is recorded for what the tests do."""

_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "SYSTEMROOT", "PYTHONPATH", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Result:
    """What a command line ended with."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """What was printed to stdout, read as JSON."""
        return json.loads(self.stdout)

    @property
    def rows(self) -> list[list[str]]:
        """What was printed to stdout, read as the header and the rows of tsv."""
        return [line.split("\t") for line in self.stdout.splitlines()]


class Command(Protocol):
    """``cli("user", "list", stdin="...", env={...})``: runs ``usermgr user list``."""

    def __call__(
        self, *argv: str, stdin: str | bytes = "", env: Mapping[str, str] | None = None
    ) -> Result: ...


@dataclass(frozen=True)
class InsideCommand:
    """Runs a command line inside this process, on the database of a URL, as ``tester``."""

    url: str

    def __call__(
        self, *argv: str, stdin: str | bytes = "", env: Mapping[str, str] | None = None
    ) -> Result:
        return run_inside(argv, stdin, {**settings_for(self.url), **(env or {})})


def settings_for(url: str) -> dict[str, str]:
    """The environment of commands on the database of a URL."""
    return {"USERMGR_DATABASE_URL": url, "USERMGR_ACTOR": ACTOR}


def run_inside(argv: tuple[str, ...], stdin: str | bytes, env: Mapping[str, str]) -> Result:
    """Run a command line inside this process; its streams are no terminals."""
    from usermgr.cli.app import run

    inputs = _text_stream(stdin.encode() if isinstance(stdin, str) else stdin)
    stdout, stderr = _text_stream(), _text_stream()
    status = run(argv, environ=env, stdin=inputs, stdout=stdout, stderr=stderr)
    return Result(status, _written(stdout), _written(stderr))


def run_process(
    argv: tuple[str, ...], stdin: str | bytes, env: Mapping[str, str], cwd: Path
) -> Result:
    """Run a command line as a process of its own, in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "usermgr", *argv],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        env={**process_environment(), **env},
        cwd=cwd,
        timeout=120,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def process_environment() -> dict[str, str]:
    """The environment of a process that shall know nothing of ours but where to find programs."""
    kept = {key: value for key, value in os.environ.items() if key in _KEPT}
    path = [str(PROJECT), *kept.get("PYTHONPATH", "").split(os.pathsep)]
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, path))}


def _text_stream(content: bytes = b"") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()
