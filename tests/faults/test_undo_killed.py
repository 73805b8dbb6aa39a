"""kill -9 of ``undo`` at any moment: everything is as before it or as after it.

What is undone is an import that created some hundred users and changed others, then its undo, then
that one's, and so on.
"""

from __future__ import annotations

import random
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.support.commands import Command
from tests.support.consistency import broken_promises, content
from tests.support.killing import fork_server, start_command, wait_until_nobody_is_there

RUNS = 15
"""On each of the two databases."""

CREATED, CHANGED = 300, 100


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    return fork_server("usermgr.cli.undo", "usermgr.services.undoing")


def _import(cli: Command, first: int, name: str, claims: str) -> None:
    rows = [f"{name},u{n}@example.com,member,{claims}\n" for n in range(first, CREATED + CHANGED)]
    Path("users.csv").write_text("name,email,role,claims\n" + "".join(rows))
    new = ("--create-roles", "--create-claims", "--on-conflict", "update", "--yes")
    assert cli("user", "import", "users.csv", *new).exit_code == 0


def _newest(cli: Command) -> str:
    return str(cli("operation", "list", "--limit", "1", "-o", "json").json[0]["id"])


def test_kill_at_random_moments(
    cli: Command, database_url: str, processes: ForkServerContext
) -> None:
    _import(cli, CREATED, "Old", "")
    before = content(database_url)
    _import(cli, 0, "New", "reports:read;reports:export")
    after, operation = content(database_url), _newest(cli)
    draw, longest = random.Random(5), 0.0
    for expected in (before, after):  # The first also starts what the others are forked from.
        start = time.perf_counter()
        process = start_command(processes, database_url, ("undo", operation, "--yes"))
        process.join()
        longest = time.perf_counter() - start
        assert (process.exitcode, content(database_url)) == (0, expected)
        operation = _newest(cli)
    ended = 0
    for _ in range(RUNS):
        process = start_command(processes, database_url, ("undo", operation, "--yes"))
        process.join(draw.random() * longest)
        process.kill()
        process.join()
        wait_until_nobody_is_there(database_url)

        if _newest(cli) != operation:
            ended, operation = ended + 1, _newest(cli)
        assert content(database_url) == (before if ended % 2 else after)
    assert ended < RUNS, "no run was killed before its end: the moments are badly drawn"
    assert broken_promises(database_url) == {}
    assert cli("undo", operation, "--yes").exit_code == 0
    assert content(database_url) == (after if ended % 2 else before)
