"""The HTTP API against bare FastAPI with the same SQL, side by side.

python -m benchmarks.http [--rows N] [--seconds S] [--requests N] [--only WORK,...] [--json]

``small`` and ``large``: one user, a page of 50 and a new user at 1,000 and at N users, by rate and
by p99. ``pages``: the page at N users against the one at 1,000. ``memory``: what the server holds
after so many requests. ``imports``: N users by POST /v1/users:import against user import.
Both servers have one process, the same pool and the same settings of uvicorn, on a PostgreSQL with
its default settings (or the one in USERMGR_BENCHMARK_URL).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from benchmarks.bulk import ROLES, Bench, Measured, running, settle, tell, usermgr, write_files
from benchmarks.http_bare import HASH
from benchmarks.http_load import Took, send
from tests.support.serving import Face, serving

ROUNDS = 3
SMALL = 1_000
Request = Callable[[int], bytes]


@contextlib.contextmanager
def bare(url: str) -> Iterator[int]:
    """The port of the server without anything else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port: int = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.http_bare", url], stdin=listener.fileno()
        )
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/v1/users")
            return
        time.sleep(0.1)
    raise RuntimeError("the bare server does not answer")


def _port(face: Face) -> int:
    return int(face.url.rsplit(":", 1)[1])


def _request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    told = (
        b"" if not body else b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    )
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
    return head.encode() + told + b"\r\n" + body


def works(face: Face, rows: int) -> dict[str, tuple[Request, int]]:
    """The requests by what they are, with the status of their answers."""
    token = face.tokens["all"]

    def one(number: int) -> bytes:
        return _request("GET", f"/v1/users/{number * 7919 % rows + 1}", token)

    def new(_number: int) -> bytes:
        email = f"{secrets.token_hex(10)}@example.com"
        person = {"name": "Ana", "email": email, "role": ROLES[0], "password_hash": HASH}
        return _request("POST", "/v1/users", token, json.dumps(person).encode())

    page = _request("GET", "/v1/users?limit=50", token)
    return {"one user": (one, 200), "a page of 50": (lambda _: page, 200), "a new user": (new, 201)}


def beside_bare(bench: Bench, rows: int, seconds: float) -> Iterator[Measured]:
    """Rates and p99 of both, in turns."""
    with contextlib.ExitStack() as stack:
        url = _filled(bench, rows)
        face, other = stack.enter_context(serving(url)), stack.enter_context(bare(url))
        for work, (request, status) in works(face, rows).items():
            ours, theirs = Took(), Took()
            for _ in range(ROUNDS):
                for port, took in ((_port(face), ours), (other, theirs)):
                    send(port, request, seconds=seconds, status=status, took=took)
            name, ratio = f"{work}, {rows} users", ours.rate / theirs.rate
            against = "bare FastAPI"
            yield Measured(
                f"{name}, a second", against, ours.rate, theirs.rate, ratio, 0.85, at_least=True
            )
            mine, its = ours.share(0.99) * 1000, theirs.share(0.99) * 1000
            yield Measured(f"{name}, p99 ms", against, mine, its, mine / its, 1.3)


def _filled(bench: Bench, rows: int) -> str:
    url = bench.new_url()
    files = write_files(bench.folder, f"http{rows}", rows, 0)
    usermgr(url, "user", "import", files.csv)
    settle(url)
    return url


def pages(bench: Bench, seconds: float) -> Iterator[Measured]:
    """A page of many users takes what one of few takes."""
    found = []
    for rows in (SMALL, bench.rows):
        with serving(_filled(bench, rows)) as face:
            took = Took()
            request, status = works(face, rows)["a page of 50"]
            send(_port(face), request, seconds=seconds * ROUNDS, status=status, took=took)
            found.append(took.share(0.5) * 1000)
    work = f"a page of {bench.rows} users, ms"
    yield Measured(work, f"of {SMALL}", found[1], found[0], found[1] / found[0], 1.2)


def memory(bench: Bench, requests: int) -> Iterator[Measured]:
    """What the server holds after a tenth of the requests, and after all."""
    with serving(_filled(bench, SMALL)) as face:
        request, status = works(face, SMALL)["one user"]
        held, took = [], Took()
        for wanted in (requests // 10, requests):
            while len(took.each) < wanted:
                send(_port(face), request, seconds=1, status=status, took=took)
            told = Path(f"/proc/{face.process.pid}/status").read_text()
            held.append(int(told.partition("VmRSS:")[2].split()[0]) / 1024)
    work = f"MiB after {requests} requests"
    yield Measured(work, "after a tenth of them", held[1], held[0], held[1] / held[0], 1.05)


def imports(bench: Bench) -> Iterator[Measured]:
    """The same file, by HTTP and by the command line."""
    theirs = usermgr(bench.new_url(), "user", "import", bench.first.csv)
    with serving(bench.new_url()) as face:
        start = time.perf_counter()
        headers = {"Content-Type": "text/csv"}
        with bench.first.csv.open("rb") as file:
            answer = face("POST", "/v1/users:import", content=file, headers=headers, timeout=600)
        ours = time.perf_counter() - start
        answer.raise_for_status()
    yield Measured("import by HTTP, s", "user import", ours, theirs, ours / theirs, 1.15)


def _measure(work: str, bench: Bench, arguments: argparse.Namespace) -> Iterator[Measured]:
    seconds: float = arguments.seconds
    if work in ("small", "large"):
        return beside_bare(bench, SMALL if work == "small" else bench.rows, seconds)
    if work == "pages":
        return pages(bench, seconds)
    return memory(bench, arguments.requests) if work == "memory" else imports(bench)


WORKS = ("small", "large", "pages", "memory", "imports")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="users (default: 1000000)")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--requests", type=int, default=100_000, help="for the memory")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=WORKS, metavar="WORK,..."
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def main() -> None:
    """Measure what was asked for."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name, running(arguments.rows, Path(name)) as bench:
        works = (_measure(work, bench, arguments) for work in arguments.only)
        tell(works, arguments.rows, told="", as_json=arguments.json)


if __name__ == "__main__":
    main()
