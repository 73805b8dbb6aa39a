"""How long a command takes from the shell, against the least a program with its libraries takes.

python -m benchmarks.startup [--json] [--runs N]

Both sides run on the same interpreter, environment and database. The bare scripts import what the
program is built with, run one query and print a row; the trivial application has two commands.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.timing import Comparison, Contender, compare
from tests.support.commands import process_environment, run_inside
from tests.support.databases import databases_on, initialise
from tests.support.postgres import running_server

GOAL = 1.2
PROGRAM = "from usermgr.__main__ import main; main()"
"""What the installed script ``usermgr`` does."""

EMAIL = "ada@example.org"

TRIVIAL = """
import typer

app = typer.Typer(help="A trivial application.")

@app.command()
def first(name: str) -> None:
    \"\"\"Greet somebody.\"\"\"
    print(f"hello {name}")

@app.command()
def second(count: int = 1) -> None:
    \"\"\"Count.\"\"\"
    print(count)

app()
"""

BARE = """
import os
import typer
import sqlalchemy.orm
{driver}

def main() -> None:
    engine = sqlalchemy.create_engine(os.environ["BENCHMARK_URL"])
    with sqlalchemy.orm.Session(engine) as session:
        query = sqlalchemy.text("SELECT id, name, email FROM users WHERE email = :email")
        print(session.execute(query, {{"email": "{email}"}}).one())

typer.run(main)
"""


def main() -> None:
    """Measure, and print a table or JSON; exits 1 when a goal is missed."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        found = list(_comparisons(Path(folder), arguments.runs))
    if arguments.json:
        print(json.dumps([asdict(c) | {"ratio": c.ratio, "met": c.met} for c in found], indent=2))
    else:
        _print_table(found, arguments.runs)
    sys.exit(not all(comparison.met for comparison in found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--runs", type=int, default=15, help="runs of each side (default: 15)")
    return parser.parse_args()


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves the lines of the description as they are."""


def _comparisons(folder: Path, runs: int) -> Iterator[Comparison]:
    yield compare(
        _usermgr("usermgr --help", folder, ["--help"], expected="schema"),
        _script("trivial Typer application --help", folder, TRIVIAL, ["--help"], expected="second"),
        goal=GOAL,
        runs=runs,
    )
    sqlite = f"sqlite:///{folder / 'benchmark.db'}"
    initialise(sqlite)
    yield _show(folder, sqlite, "SQLite", "", runs)
    with running_server() as server, databases_on(server) as databases:
        url = server.database(databases.clone())
        bare_url = url.replace("postgresql://", "postgresql+psycopg2://")
        yield _show(folder, url, "PostgreSQL", "import psycopg2", runs, bare_url=bare_url)


def _show(
    folder: Path, url: str, database: str, driver: str, runs: int, *, bare_url: str = ""
) -> Comparison:
    _fill(url)
    script = BARE.format(driver=driver, email=EMAIL)
    return compare(
        _usermgr(
            f"usermgr user show, {database}",
            folder,
            ["user", "show", EMAIL],
            expected=EMAIL,
            url=url,
        ),
        _script(
            f"bare script, {database}", folder, script, [], expected=EMAIL, url=bare_url or url
        ),
        goal=GOAL,
        runs=runs,
    )


def _fill(url: str) -> None:
    environment = {"USERMGR_DATABASE_URL": url, "USERMGR_ACTOR": "benchmark"}
    for line in (
        ("role", "create", "editor"),
        ("user", "create", "--name", "Ada", "--email", EMAIL, "--role", "editor"),
    ):
        done = run_inside(line, "", environment)
        if done.exit_code:
            raise RuntimeError(done.stderr)


def _usermgr(
    name: str, folder: Path, argv: list[str], *, expected: str, url: str = ""
) -> Contender:
    environment = process_environment() | {"USERMGR_DATABASE_URL": url}
    return Contender(name, [sys.executable, "-c", PROGRAM, *argv], environment, folder, expected)


def _script(
    name: str, folder: Path, text: str, argv: list[str], *, expected: str, url: str = ""
) -> Contender:
    stem = name.partition(",")[0].replace(" ", "_")
    path = folder / f"{stem}.py"
    path.write_text(text)
    environment = process_environment() | {"BENCHMARK_URL": url}
    return Contender(name, [sys.executable, str(path), *argv], environment, folder, expected)


def _print_table(found: list[Comparison], runs: int) -> None:
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs; medians of {runs} runs each, "
        "in turns"
    )
    print(f"\n{'command':<32}{'ms':>7}  {'against':<36}{'ms':>7}{'ratio':>8}{'goal':>7}")
    for c in found:
        print(
            f"{c.ours:<32}{c.our_seconds * 1000:>7.0f}  {c.theirs:<36}"
            f"{c.their_seconds * 1000:>7.0f}{c.ratio:>8.2f}{c.goal:>7.2f}"
            f"{'' if c.met else '  missed'}"
        )


if __name__ == "__main__":
    main()
