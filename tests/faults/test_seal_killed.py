"""kill -9 of ``audit seal`` at any moment: there is a whole seal, or nothing of it."""

from __future__ import annotations

import random
import time
from multiprocessing.context import ForkServerContext

import pytest
from sqlalchemy import insert, text

from tests.support.commands import Command
from tests.support.databases import open_database
from tests.support.killing import fork_server, start_command, wait_until_nobody_is_there
from usermgr.db.models import changes

RUNS = 30
ROWS = 3_000


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes in which the command needs to import nothing any more."""
    return fork_server("usermgr.cli.audit", "usermgr.services.sealing")


def _fill(url: str) -> None:
    """One operation with many changes, which no seal covers."""
    database = open_database(url)
    with database.operation("fill", "tester") as op:
        op.count("user.update", ROWS)
        image = {"name": "Ana Souza", "claims": ["reports:read", "reports:export"]}
        rows = [
            {
                "operation_id": op.id,
                "entity": "user",
                "entity_id": number,
                "name": f"person.{number}@example.com",
                "action": "update",
                "before": image,
                "after": image,
            }
            for number in range(ROWS)
        ]
        op.connection.execute(insert(changes), rows)
    database.engine.dispose()


def _stored(url: str) -> tuple[int, int, int]:
    """How many seals there are, of how many the blocks speak, and how many the operations."""
    database = open_database(url)
    with database.connect() as connection:
        found = [
            connection.execute(text(f"SELECT count(DISTINCT {column}) FROM {table}")).scalar_one()
            for table, column in (
                ("seals", "id"),
                ("seal_blocks", "seal_id"),
                ("sealed_operations", "seal_id"),
            )
        ]
    database.engine.dispose()
    return found[0], found[1], found[2]


def test_kill_at_random_moments(
    cli: Command, database_url: str, processes: ForkServerContext
) -> None:
    draw = random.Random(4)
    longest = 0.0
    for _ in range(2):  # The first also starts what the others are forked from.
        _fill(database_url)
        start = time.perf_counter()
        process = start_command(processes, database_url, ("audit", "seal"))
        process.join()
        longest = time.perf_counter() - start
        assert process.exitcode == 0
    seals, ended = 2, 0
    _fill(database_url)
    for _ in range(RUNS):
        process = start_command(processes, database_url, ("audit", "seal"))
        process.join(draw.random() * longest)
        process.kill()
        process.join()
        wait_until_nobody_is_there(database_url)

        found = _stored(database_url)
        assert found in {(seals, seals, seals), (seals + 1, seals + 1, seals + 1)}
        if found[0] > seals:
            seals += 1
            ended += 1
            _fill(database_url)
    assert ended < RUNS, "no run was killed before its end: the moments are badly drawn"
    last = cli("audit", "seal", "-o", "json")
    assert (last.exit_code, last.json["id"], last.json["changes"]) == (0, seals + 1, ROWS)
    verified = cli("audit", "verify", "-o", "json")
    assert (verified.exit_code, verified.stderr) == (0, "")
    assert (verified.json["seals"], verified.json["unsealed"]) == (seals + 1, 0)
    assert verified.json["changes"] == (seals + 1) * ROWS
