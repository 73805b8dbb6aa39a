"""Imports that run as processes of their own, so that things can happen meanwhile."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import text

from tests.support.commands import process_environment
from tests.support.databases import open_database


def start(url: str, *words: str, stdin: int | None = None) -> subprocess.Popen[bytes]:
    """``usermgr user import`` on the database, with the words."""
    return subprocess.Popen(
        [sys.executable, "-m", "usermgr", "user", "import", *words, "-o", "json"],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**process_environment(), "USERMGR_DATABASE_URL": url},
    )


@contextlib.contextmanager
def started(url: str, *words: str, stdin: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The process of ``start``, which does not outlive the block."""
    with start(url, *words, stdin=stdin) as process:
        try:
            yield process
        finally:
            process.kill()


def count_users(url: str) -> int:
    """How many users are stored."""
    database = open_database(url)
    with database.connect() as connection:
        number: int = connection.execute(text("SELECT count(*) FROM users")).scalar_one()
    database.engine.dispose()
    return number


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def wait_until(condition: Callable[[], object]) -> None:
    """Return when the condition holds; fails when that takes unreasonably long."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.01)


def is_asleep(pid: int) -> Callable[[], bool]:
    """Tells whether the process has not used the processor for the last tenth of a second."""
    used: list[str] = []

    def look() -> bool:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        used.append(f"{rest[10]} {rest[11]}")
        return state == "S" and len(used) > 10 and len(set(used[-10:])) == 1

    return look
