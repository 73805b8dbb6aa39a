"""What the history costs: the same writes with recording and without, side by side.

python -m benchmarks.audit [--writers N] [--seconds S] [--rounds N] [--only WORK,...] [--json]

``writers``: processes that each change one user after the other, every change in a transaction of
its own, as commands do; once as they are, and once with the two inserts of the history left out.
The two kinds take turns, on one PostgreSQL with its default settings that is started for the run
(or the one in USERMGR_BENCHMARK_URL, where databases are created and dropped). A connection is
opened for each write, as by every command; ``kept`` keeps it open instead, which is the harder test
of the two. ``seal``: what sealing costs per change at N and 4N changes, and how much memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import operator
import os
import platform
import re
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

from benchmarks.bulk import Measured, line
from tests.support.commands import process_environment
from tests.support.databases import databases_on, open_database
from tests.support.postgres import Server, running_server

USERS = 200
"""For each writer: those of one are not touched by another."""

GOAL = 0.8


class Sizes(NamedTuple):
    """How much is measured."""

    writers: int
    seconds: float
    rounds: int
    changes: int


def write(
    url: str, writer: int, *, recorded: bool, kept: bool, seconds: float, start: Barrier, done: Any
) -> None:
    """Change the writer's users for so long; tells how many changes that were."""
    from sqlalchemy.pool import StaticPool

    from usermgr.db.engine import Operation
    from usermgr.records import UserChanges
    from usermgr.services.users import update_user

    if not recorded:
        Operation.finish = lambda *_: None  # type: ignore[method-assign]
    database = open_database(url)
    if kept:
        database.engine.pool = StaticPool(database.engine.pool._creator)
    # A name that the user has already would be no change, and cost next to nothing.
    run = secrets.token_hex(8)
    first = writer * USERS + 1
    changes = 0
    start.wait()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        wanted = UserChanges(name=f"{run} {changes}")
        with database.operation("user update", "benchmark") as op:
            update_user(op, str(first + changes % USERS), wanted)
            if not op.counts:
                raise RuntimeError("a write changed nothing: its time does not count")
        changes += 1
    done.put(changes / seconds)


def throughput(url: str, sizes: Sizes, *, recorded: bool, kept: bool) -> float:
    """Writes a second of all writers together."""
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(sizes.writers), context.Queue()
    options = {"recorded": recorded, "kept": kept, "seconds": sizes.seconds}
    processes = [
        context.Process(
            target=write, args=(url, writer), kwargs=options | {"start": start, "done": done}
        )
        for writer in range(sizes.writers)
    ]
    before = _changed(url)
    for process in processes:
        process.start()
    rates: list[float] = [done.get(timeout=sizes.seconds + 120) for _ in processes]
    for process in processes:
        process.join()
    told, made = round(sum(rates) * sizes.seconds), _changed(url) - before
    if told != made:
        raise RuntimeError(f"the writers tell of {told} changes, the database of {made}")
    return sum(rates)


def writers(new_url: Callable[[], str], sizes: Sizes, *, kept: bool = False) -> Iterator[Measured]:
    """Throughput with the history against the same writes without it."""
    url = new_url()
    _users(url, sizes.writers * USERS)
    rates: dict[bool, list[float]] = {True: [], False: []}
    for number in range(sizes.rounds):
        # Who goes first changes, so that neither always runs on what the other has left warm.
        for recorded in (True, False) if number % 2 else (False, True):
            rates[recorded].append(throughput(url, sizes, recorded=recorded, kept=kept))
    ours, theirs = statistics.median(rates[True]), statistics.median(rates[False])
    # Of each round by itself: what else the machine does changes from one to the next.
    ratio = statistics.median(map(operator.truediv, rates[True], rates[False]))
    work = f"{sizes.writers} writers, changes a second" + (", kept" if kept else "")
    yield Measured(work, "without a history", ours, theirs, ratio, GOAL, at_least=True)


def seal(new_url: Callable[[], str], sizes: Sizes) -> Iterator[Measured]:
    """Seconds and MiB of sealing N and 4N changes."""
    small = seconds_and_peak(_changes(new_url(), sizes.changes))
    large = seconds_and_peak(_changes(new_url(), sizes.changes * 4))
    costs = [small[0] / sizes.changes * 1e6, large[0] / sizes.changes / 4 * 1e6]
    yield Measured(
        "sealing, us a change: 4 x N", "N", costs[1], costs[0], costs[1] / costs[0], 1.25
    )
    yield Measured("peak memory, MiB: 4 x N", "N", large[1], small[1], large[1] / small[1], 1.05)


def seconds_and_peak(url: str) -> tuple[float, float]:
    """Seconds and MiB of ``audit seal``."""
    script = (
        "import os, sys; from usermgr.cli.app import run\n"
        "status = run(sys.argv[1:], environ=os.environ, stdin=sys.stdin, stdout=sys.stdout,"
        " stderr=sys.stderr)\n"
        "print(open('/proc/self/status').read(), file=sys.stderr); sys.exit(status)"
    )
    start = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-c", script, "audit", "seal"],
        env=process_environment() | {"USERMGR_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - start
    peak = re.search(r"VmHWM:\s+(\d+)", ended.stderr)
    return seconds, int(peak[1]) / 1024 if peak else 0.0


def _changed(url: str) -> int:
    """How many changes the users have seen, recorded or not."""
    database = open_database(url)
    with database.connect() as connection:
        number: int = connection.exec_driver_sql(
            "SELECT coalesce(sum(version - 1), 0)::bigint FROM users"
        ).scalar_one()
    database.engine.dispose()
    return number


def _users(url: str, number: int) -> None:
    _run(
        url,
        "INSERT INTO roles (description) VALUES ('member')",
        "INSERT INTO users (name, email, role_id)"
        f" SELECT 'User', 'u' || n || '@example.com', 1 FROM generate_series(1, {number}) n",
    )


def _changes(url: str, number: int) -> str:
    """So many changes of one operation, as an import leaves them."""
    image = json.dumps({"name": "Ana Souza", "email": "ana@example.com", "claims": ["a", "b"]})
    _run(
        url,
        "INSERT INTO operations (command, actor, source, started_at, finished_at, outcome, counts)"
        " VALUES ('user import', 'x', 'cli', now(), now(), 'ok', '{}')",
        "INSERT INTO changes (operation_id, entity, entity_id, name, action, before, after, salt)"
        f" SELECT 1, 'user', n, 'u' || n, 'update', '{image}', '{image}', md5(n::text)"
        f" FROM generate_series(1, {number}) n",
    )
    return url


def _run(url: str, *statements: str) -> None:
    database = open_database(url)
    with database.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()
        driver: Any = connection.connection.driver_connection
        driver.autocommit = True
        connection.exec_driver_sql("VACUUM ANALYZE")
    database.engine.dispose()


WORKS: dict[str, Callable[[Callable[[], str], Sizes], Iterator[Measured]]] = {
    "writers": writers,
    "kept": lambda new_url, sizes: writers(new_url, sizes, kept=True),
    "seal": seal,
}


@contextlib.contextmanager
def running() -> Iterator[Callable[[], str]]:
    """Gives URLs of new databases with the schema."""
    chosen = os.environ.get("USERMGR_BENCHMARK_URL")
    with contextlib.ExitStack() as stack:
        if chosen:
            server = Server(url=chosen, tcp_url=chosen)
        else:
            server = stack.enter_context(running_server(settings=()))
        databases = stack.enter_context(databases_on(server))
        yield lambda: server.database(databases.clone())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--writers", type=int, default=8, help="at once (default: 8)")
    parser.add_argument("--seconds", type=float, default=2, help="of one round (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="of each kind (default: 5)")
    parser.add_argument("--changes", type=int, default=25_000, help="to seal (default: 25000)")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(WORKS),
        metavar="WORK,...",
        help="of " + ", ".join(WORKS),
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def main() -> None:
    """Measure, and print a table or JSON; exits 1 when a goal is missed."""
    arguments = _arguments()
    sizes = Sizes(arguments.writers, arguments.seconds, arguments.rounds, arguments.changes)
    found: list[Measured] = []
    if not arguments.json:
        print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs")
    with running() as new_url:
        for work in arguments.only:
            for measured in WORKS[work](new_url, sizes):
                found.append(measured)
                if not arguments.json:
                    print(line(measured), flush=True)
    if arguments.json:
        print(json.dumps([asdict(one) | {"met": one.met} for one in found], indent=2))
    sys.exit(not all(measured.met for measured in found))


if __name__ == "__main__":
    main()
