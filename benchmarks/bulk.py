"""Bulk import, export and seeding, against the fastest that the database's own tools can do.

python -m benchmarks.bulk [--rows N] [--only WORK,...] [--json]

Every row of the table is measured on both sides in this run: on a PostgreSQL with its default
settings that is started for it (or the one in USERMGR_BENCHMARK_URL, where databases are created
and dropped), and on SQLite files. ``\\copy`` gets the final rows, ids and all, and checks nothing;
usermgr gets a CSV with names of roles and claims, and checks every row.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import json
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from tests.support.commands import process_environment
from tests.support.databases import databases_on, initialise
from tests.support.postgres import Server, program, running_server

PROGRAM = "from usermgr.__main__ import main; main()"
ROLES = ("admin", "manager", "support", "member")
CLAIMS = ("users:read", "users:write", "reports:read", "reports:export", "billing:read")
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2E$" + "A" * 43
USER_COLUMNS = "id, name, email, password, role_id, created_at, active, version, created_in"
FIRST = ("Ana", "Bruno", "Carla", "Diego", "Eva", "João", "Karin", "Luís", "Maria", "Zoé")
LAST = ("Souza", "Lima", "Silva", "Costa", "Pereira", "Alves", "Gomes", "Rocha", "Dias", "Melo")


@dataclass(frozen=True)
class Measured:
    """One work: seconds or MiB of ours and of theirs, and the ratio with its goal."""

    work: str
    against: str
    ours: float
    theirs: float
    ratio: float
    goal: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the goal is met, at the precision that is printed."""
        ratio = round(self.ratio, 2)
        return ratio >= self.goal if self.at_least else ratio <= self.goal


@dataclass(frozen=True)
class Files:
    """The same people twice: as a CSV for usermgr, and as final rows for ``\\copy``."""

    csv: Path
    users: Path
    grants: Path


class Bench:
    """The databases and files of one run."""

    def __init__(self, folder: Path, rows: int, url: Callable[[], str]) -> None:
        self.folder, self.rows, self._new_url = folder, rows, url
        self.first = write_files(folder, "first", rows, 0)
        self.second = write_files(folder, "second", rows, rows)

    def new_url(self) -> str:
        """The URL of a new PostgreSQL database with the schema, roles and claims."""
        url = self._new_url()
        values = ", ".join(f"('{name}')" for name in ROLES)
        psql(url, f"INSERT INTO roles (description) VALUES {values}")
        values = ", ".join(f"('{name}')" for name in CLAIMS)
        psql(url, f"INSERT INTO claims (description) VALUES {values}")
        return url

    def filled_url(self) -> str:
        """The URL of such a database that holds the first people already."""
        url = self.new_url()
        copy_in(url, self.first)
        psql(url, f"SELECT setval('users_id_seq', {self.rows})")
        settle(url)
        return url


def write_files(folder: Path, name: str, rows: int, start: int) -> Files:
    """Write the people with the numbers from ``start`` on, in random order."""
    files = Files(*(folder / f"{name}.{ending}" for ending in ("csv", "users", "grants")))
    draw = random.Random(start)  # noqa: S311 - test data
    numbers = list(range(start, start + rows))
    draw.shuffle(numbers)
    with (
        files.csv.open("w", newline="") as source,
        files.users.open("w") as users,
        files.grants.open("w") as grants,
    ):
        writer = csv.writer(source, lineterminator="\n")
        writer.writerow(("name", "email", "role", "claims", "active", "password_hash"))
        for user_id, number in enumerate(numbers, start + 1):
            person = f"{draw.choice(FIRST)} {draw.choice(LAST)}"
            email = f"{draw.choice(FIRST[:5]).lower()}.{number}@example.com"
            role, claim = number % len(ROLES), number % len(CLAIMS)
            held = CLAIMS[claim] if number % 3 else ""
            writer.writerow((person, email, ROLES[role], held, "true", HASH))
            users.write(
                f"{user_id}\t{person}\t{email}\t{HASH}\t{role + 1}"
                "\t2026-01-01 00:00:00+00\tt\t1\t1\n"
            )
            if held:
                grants.write(f"{user_id}\t{claim + 1}\n")
    return files


def psql(url: str, *commands: str) -> float:
    """Run psql with the commands; returns the seconds it took."""
    argv: list[str | Path] = [
        program("psql"),
        url,
        "-qX",
        "-v",
        "ON_ERROR_STOP=1",
        "-o",
        "/dev/null",
    ]
    for command in commands:
        argv += ["-c", command]
    return timed(argv)


def copy_in(url: str, files: Files) -> float:
    r"""``\copy`` the final rows into users and user_claims."""
    return psql(
        url,
        f"\\copy users ({USER_COLUMNS}) from '{files.users}'",
        f"\\copy user_claims (user_id, claim_id) from '{files.grants}'",
    )


def settle(url: str) -> None:
    """Do now what the server would do by itself later, beside what is measured next."""
    psql(url, "VACUUM (ANALYZE)", "CHECKPOINT")


def usermgr(url: str, *words: str | Path) -> float:
    """Run a usermgr command on the database; returns the seconds it took."""
    environment = {"USERMGR_DATABASE_URL": url, "USERMGR_ACTOR": "benchmark"}
    return timed([sys.executable, "-c", PROGRAM, *words], environment)


def timed(argv: Sequence[str | Path], environment: dict[str, str] | None = None) -> float:
    """The seconds that a command takes. Raises RuntimeError when it fails."""
    start = time.perf_counter()
    done = subprocess.run(
        argv,
        env=process_environment() | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{argv}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def into_empty(bench: Bench) -> Iterator[Measured]:
    """Into empty tables, against the same rows without any check."""
    theirs = copy_in(bench.new_url(), bench.first)
    ours = usermgr(bench.new_url(), "user", "import", bench.first.csv)
    yield Measured("import into empty tables", r"psql \copy", ours, theirs, ours / theirs, 0.4)


def seeding(bench: Bench) -> Iterator[Measured]:
    """Seeding, against the import of the file that an export of the seeded users makes."""
    url, path = bench.new_url(), bench.folder / "seeded.csv"
    ours = usermgr(url, "seed", "--users", str(bench.rows))
    usermgr(url, "user", "export", path)
    theirs = usermgr(bench.new_url(), "user", "import", path, "--create-claims")
    yield Measured("seed", "the import of an equal file", ours, theirs, ours / theirs, 1.3)


def into_live(bench: Bench) -> Iterator[Measured]:
    """Beside as many others; with --exclusive; and once more with nothing changed."""
    other = bench.filled_url()
    theirs = copy_in(other, bench.second)
    settle(other)
    url = bench.filled_url()
    ours = usermgr(url, "user", "import", bench.second.csv)
    settle(url)
    yield Measured("import beside as many", r"psql \copy", ours, theirs, ours / theirs, 1.0)
    update = ("user", "import", bench.second.csv, "--on-conflict", "update")
    again = usermgr(url, *update)
    settle(url)
    yield Measured("again, nothing changed", "the import before", again, ours, again / ours, 0.6)
    exclusive = usermgr(bench.filled_url(), "user", "import", bench.second.csv, "--exclusive")
    yield Measured("with --exclusive", r"psql \copy", exclusive, theirs, exclusive / theirs, 0.6)


def into_sqlite(bench: Bench) -> Iterator[Measured]:
    """Into a SQLite file, against the driver's own executemany in one transaction."""
    theirs_url, ours_url = (f"sqlite:///{bench.folder / name}.db" for name in ("theirs", "ours"))
    for url in (theirs_url, ours_url):
        initialise(url)
        for name in ROLES:
            usermgr(url, "role", "create", name)
        for name in CLAIMS:
            usermgr(url, "claim", "create", name)
    theirs = execute_many(bench.folder / "theirs.db", bench.first)
    ours = usermgr(ours_url, "user", "import", bench.first.csv)
    yield Measured("import into SQLite", "executemany", ours, theirs, ours / theirs, 1.5)


def execute_many(path: Path, files: Files) -> float:
    """Insert the final rows with the sqlite3 module; returns the seconds."""
    start = time.perf_counter()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA foreign_keys = ON")
    columns = USER_COLUMNS.split(", ")
    places = ", ".join("?" * len(columns))
    with files.users.open() as users, files.grants.open() as grants, connection:
        connection.executemany(
            f"INSERT INTO users ({USER_COLUMNS}) VALUES ({places})",
            ([*row[:6], row[6] == "t", *row[7:]] for row in csv.reader(users, delimiter="\t")),
        )
        connection.executemany(
            "INSERT INTO user_claims (user_id, claim_id) VALUES (?, ?)",
            csv.reader(grants, delimiter="\t"),
        )
    connection.close()
    return time.perf_counter() - start


def out(bench: Bench) -> Iterator[Measured]:
    r"""Export everybody, against ``\copy (select ...) to`` of the same columns."""
    url = bench.filled_url()
    select = (
        "SELECT u.name, u.email, r.description, (SELECT string_agg(c.description, ';')"
        " FROM user_claims g JOIN claims c ON c.id = g.claim_id WHERE g.user_id = u.id),"
        " u.active, u.created_at FROM users u JOIN roles r ON r.id = u.role_id ORDER BY u.id"
    )
    theirs = psql(url, f"\\copy ({select}) to '{bench.folder / 'theirs.csv'}' csv header")
    ours = usermgr(url, "user", "export", bench.folder / "ours.csv")
    yield Measured("export", r"psql \copy (select)", ours, theirs, ours / theirs, 1.5)


def passwords(bench: Bench) -> Iterator[Measured]:
    """Plain passwords: hashes a second, against cores divided by the time of one hash."""
    from usermgr.passwords import hash_password

    rows, cores = 2_000, os.cpu_count() or 1
    path = bench.folder / "plain.csv"
    lines = [f"P {i},p{i}@example.com,admin,passphrase number {i}\n" for i in range(rows)]
    path.write_text("name,email,role,password\n" + "".join(lines))
    start = time.perf_counter()
    for _ in range(100):
        hash_password("passphrase number 1")
    possible = cores / ((time.perf_counter() - start) / 100)
    reached = rows / usermgr(bench.new_url(), "user", "import", path)
    yield Measured(
        "plain passwords a second",
        "cores / one hash",
        reached,
        possible,
        reached / possible,
        0.9,
        at_least=True,
    )


def sizes(bench: Bench) -> Iterator[Measured]:
    """The cost of a row and the peak of memory at N/10, N and 4N rows.

    The cost is told twice: of the whole command, and without its start-up, which is the time that
    an import of one row takes.
    """
    found = {}
    one = write_files(bench.folder, "one", 1, 0)
    start_up = import_and_peak(bench.new_url(), one.csv)[0]
    for rows in (bench.rows // 10, bench.rows, bench.rows * 4):
        files = write_files(bench.folder, "size", rows, 0)
        found[rows] = import_and_peak(bench.new_url(), files.csv)
    for what, fixed in (("with start-up", 0.0), ("without it", start_up)):
        costs = [(seconds - fixed) / rows * 1e6 for rows, (seconds, _) in found.items()]
        most, least = max(costs), min(costs)
        yield Measured(f"a row, us, {what}: most", "least", most, least, most / least, 1.25)
    small, large = found[bench.rows][1], found[bench.rows * 4][1]
    yield Measured("peak memory, MiB: 4 x rows", "rows", large, small, large / small, 1.05)
    yield Measured("peak memory, MiB", "the limit", large, 120, large / 120, 1.0)


def import_and_peak(url: str, path: Path) -> tuple[float, float]:
    """Seconds and MiB of an import: the sum of the peaks of its two processes."""
    # A process inherits the peak that getrusage tells from the one that started it; the kernel's
    # own figure begins anew.
    script = (
        "import os, re, resource, sys; from usermgr.cli.app import run\n"
        "status = run(sys.argv[1:], environ=os.environ, stdin=sys.stdin, stdout=sys.stdout,"
        " stderr=sys.stderr)\n"
        "own = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]\n"
        "other = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "print('peaks', own, other, file=sys.stderr); sys.exit(status)"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, "user", "import", path, "--quiet"],
        env=process_environment() | {"USERMGR_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - start
    own, other = map(int, done.stderr.split()[-2:])
    return seconds, (own + other) / 1024


WORKS: dict[str, Callable[[Bench], Iterator[Measured]]] = {
    "empty": into_empty,
    "seed": seeding,
    "live": into_live,
    "sqlite": into_sqlite,
    "export": out,
    "passwords": passwords,
    "sizes": sizes,
}


@contextlib.contextmanager
def running(rows: int, folder: Path) -> Iterator[Bench]:
    """The benchmark's files, and a server with PostgreSQL's default settings."""
    chosen = os.environ.get("USERMGR_BENCHMARK_URL")
    with contextlib.ExitStack() as stack:
        if chosen:
            server = Server(url=chosen, tcp_url=chosen)
        else:
            server = stack.enter_context(running_server(settings=()))
        databases = stack.enter_context(databases_on(server))
        made: list[str] = []

        def new_url() -> str:
            for name in made:  # One at a time: they are large.
                databases.drop(name)
            made[:] = [databases.clone()]
            return server.database(made[0])

        yield Bench(folder, rows, new_url)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000, help="users (default: 200000)")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(WORKS),
        metavar="WORK,...",
        help="of " + ", ".join(WORKS),
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def line(found: Measured) -> str:
    """One line of the table."""
    sign = ">=" if found.at_least else "<="
    return (
        f"{found.work:<36}{found.ours:>9.2f}  {found.against:<28}{found.theirs:>9.2f}"
        f"{found.ratio:>8.2f}  {sign} {found.goal:.2f}{'' if found.met else '  missed'}"
    )


def tell(works: Iterable[Iterator[Measured]], rows: int, *, told: str, as_json: bool) -> NoReturn:
    """Measure the works, and print a table or JSON; exits 1 when a goal is missed."""
    found: list[Measured] = []
    if not as_json:
        print(f"{rows} users, Python {platform.python_version()}, {os.cpu_count()} CPUs{told}")
    for measured in itertools.chain.from_iterable(works):
        found.append(measured)
        if not as_json:
            print(line(measured), flush=True)
    if as_json:
        shown = [asdict(measured) | {"met": measured.met} for measured in found]
        print(json.dumps({"rows": rows, "found": shown}, indent=2))
    sys.exit(not all(measured.met for measured in found))


def main() -> None:
    """Measure what was asked for."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name, running(arguments.rows, Path(name)) as bench:
        works = (WORKS[work](bench) for work in arguments.only)
        told = "; seconds unless the work says otherwise"
        tell(works, arguments.rows, told=told, as_json=arguments.json)


if __name__ == "__main__":
    main()
