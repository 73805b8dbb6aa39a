"""Undo of an import, against the import itself.

python -m benchmarks.undo [--rows N] [--only WORK,...] [--again] [--json]

``postgresql``: an import of N users with claims beside as many others, then its undo; on a
PostgreSQL with its default settings that is started for the run (or the one in
USERMGR_BENCHMARK_URL, where databases are created and dropped). ``sqlite``: the same in a file,
beside nobody. ``empty``: an import into empty tables of PostgreSQL, which takes a fraction of that
beside others, because no row is checked against a key.
``--again`` also measures the undo of the undo, which brings everybody back, and is known to miss
the goal on PostgreSQL.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bulk import CLAIMS, ROLES, Bench, Measured, psql, running, tell, usermgr
from tests.support.databases import initialise, open_database

GOAL = 1.0


def undo(url: str, bench: Bench, where: str, *, again: bool) -> Iterator[Measured]:
    """An import, its undo, and if wanted the undo of that one."""
    before = _users(url)
    imported = usermgr(url, "user", "import", bench.second.csv)
    undone = usermgr(url, "undo", _newest(url), "--yes")
    if _users(url) != before:
        raise RuntimeError("the undo left users: its time does not count")
    yield Measured(f"undo, {where}", "the import", undone, imported, undone / imported, GOAL)
    if again:
        back = usermgr(url, "undo", _newest(url), "--yes")
        if _users(url) != before + bench.rows:
            raise RuntimeError("not everybody came back: its time does not count")
        work = f"undo of the undo, {where}"
        yield Measured(work, "the import", back, imported, back / imported, GOAL)


def on_postgresql(bench: Bench, *, again: bool) -> Iterator[Measured]:
    """Beside as many others."""
    url = bench.filled_url()
    # The rows that are copied in name 1 as the operation that created them.
    psql(url, "SELECT setval('operations_id_seq', 1)")
    yield from undo(url, bench, "PostgreSQL", again=again)


def of_a_first_load(bench: Bench, *, again: bool) -> Iterator[Measured]:
    """Into empty tables, whose keys are built after the rows."""
    yield from undo(bench.new_url(), bench, "PostgreSQL, a first load", again=again)


def on_sqlite(bench: Bench, *, again: bool) -> Iterator[Measured]:
    """In a new file."""
    url = f"sqlite:///{bench.folder / 'undo'}.db"
    initialise(url)
    for kind, names in (("role", ROLES), ("claim", CLAIMS)):
        for name in names:
            usermgr(url, kind, "create", name)
    yield from undo(url, bench, "SQLite", again=again)


def _users(url: str) -> int:
    return int(_value(url, "SELECT count(*) FROM users"))


def _newest(url: str) -> str:
    return _value(url, "SELECT max(id) FROM operations")


def _value(url: str, query: str) -> str:
    database = open_database(url)
    with database.connect() as connection:
        found = str(connection.exec_driver_sql(query).scalar_one())
    database.engine.dispose()
    return found


WORKS: dict[str, Callable[..., Iterator[Measured]]] = {
    "postgresql": on_postgresql,
    "sqlite": on_sqlite,
    "empty": of_a_first_load,
}
USUAL = ("postgresql", "sqlite")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000, help="users (default: 200000)")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=USUAL,
        metavar="WORK,...",
        help=f"of {', '.join(WORKS)} (default: {', '.join(USUAL)})",
    )
    parser.add_argument("--again", action="store_true", help="measure the undo of the undo too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def main() -> None:
    """Measure what was asked for."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name, running(arguments.rows, Path(name)) as bench:
        works = (WORKS[work](bench, again=arguments.again) for work in arguments.only)
        tell(works, arguments.rows, told="; seconds", as_json=arguments.json)


if __name__ == "__main__":
    main()
