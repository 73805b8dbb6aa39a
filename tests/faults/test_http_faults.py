"""The server meets databases that restart, hang up, fall silent, lock or are full, and is killed.

Requests meanwhile get an answer in time that says how it is; afterwards the same process serves as
before, and every write that was acknowledged is there.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import make_url, text

from tests.support.consistency import broken_promises
from tests.support.databases import initialise, open_database
from tests.support.postgres import Server, running_server
from tests.support.proxy import proxy
from tests.support.serving import Face, problem, serving

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$OFYk0kFZRbVgT8h5UZ8RZ0m9pHVWrGdnHjc3gAxp6Hg"


@dataclass
class Load:
    """Creates users, some at once, until it is told to stop."""

    face: Face
    statuses: set[int] = field(default_factory=set)
    created: list[str] = field(default_factory=list)
    longest: float = 0.0
    _stopped: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """One client."""
        headers = {"Authorization": f"Bearer {self.face.tokens['all']}"}
        with httpx.Client(base_url=self.face.url, headers=headers, timeout=30) as client:
            while not self._stopped.is_set():
                email = f"{secrets.token_hex(8)}@load.example.com"
                started = time.monotonic()
                try:
                    answer = client.post("/v1/users", json=person(email))
                except httpx.TransportError:  # The server was killed.
                    return
                self.longest = max(self.longest, time.monotonic() - started)
                self.statuses.add(answer.status_code)
                if answer.status_code == 201:
                    self.created.append(email)

    def wait_for(self, number: int) -> None:
        """Wait until so many more users were created."""
        wanted, end = len(self.created) + number, time.monotonic() + 15
        while len(self.created) < wanted:
            assert time.monotonic() < end, self.statuses
            time.sleep(0.01)

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped.set()

    def lost(self) -> set[str]:
        """The users that were acknowledged and are not there."""
        database = open_database(self.face.database_url)
        with database.connect() as connection:
            found = connection.execute(text("SELECT email FROM users")).scalars()
            stored = set(found)
        database.engine.dispose()
        return set(self.created) - stored


def person(email: str) -> dict[str, str]:
    return {"name": "Ana", "email": email, "role": "member", "password_hash": HASH}


@contextlib.contextmanager
def under_load(face: Face, clients: int = 4) -> Iterator[Load]:
    load = Load(face)
    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(load.work) for _ in range(clients)]
        try:
            yield load
        finally:
            load.stop()
    for each in running:
        each.result()


@contextlib.contextmanager
def member_served(url: str, **settings: str) -> Iterator[Face]:
    """A server whose database has the role member."""
    env = {f"USERMGR_{name.upper()}": value for name, value in settings.items()}
    with serving(url, env=env) as face:
        assert face.cli("role", "create", "member").exit_code == 0
        yield face


def execute(url: str, statement: str, **values: object) -> None:
    database = open_database(url)
    with database.connect() as connection:
        connection.execute(text(statement), values)
        connection.commit()
    database.engine.dispose()


def test_the_database_hangs_up_and_restarts_under_load() -> None:
    with running_server() as server:
        execute(server.url, "SELECT 1")
        initialise(server.url)
        with member_served(server.url) as face, under_load(face) as load:
            load.wait_for(20)
            execute(
                server.url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'usermgr' AND pid <> pg_backend_pid()",
            )
            load.wait_for(20)
            restart(server.url)
            load.wait_for(20)
            load.stop()
            assert load.statuses == {201, 503}
            assert load.longest < 8
            assert load.lost() == set()
            assert broken_promises(server.url) == {}


def restart(url: str) -> None:
    """Stop the server, which ends its connections, and start it again."""
    folder = Path(str(make_url(url).query["host"]))
    postmaster = (folder / "data" / "postmaster.pid").read_text().split()[0]
    control = Path(f"/proc/{postmaster}/exe").readlink().with_name("pg_ctl")
    owner = folder.stat()
    account: dict[str, Any] = (
        {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    )
    subprocess.run(
        [control, "-D", folder / "data", "-m", "fast", "-l", folder / "log", "-w", "restart"],
        check=True,
        capture_output=True,
        cwd="/",
        **account,
    )


def test_a_network_that_falls_silent(
    postgresql_server: Server, migrated_postgresql_url: str
) -> None:
    tcp = make_url(postgresql_server.tcp_url)
    with proxy((tcp.host or "127.0.0.1", tcp.port or 5432), b"Silencia", "silence") as silent:
        url = tcp.set(host="127.0.0.1", port=silent.port)
        url = url.set(database=make_url(migrated_postgresql_url).database)
        url = url.update_query_dict({"sslmode": "disable", "gssencmode": "disable"})
        through = url.render_as_string(hide_password=False)
        with member_served(through, statement_timeout="0.5") as face:
            assert face("POST", "/v1/users", json=person("a@silent.example.com")).status_code == 201
            started = time.monotonic()
            refused = face(
                "POST", "/v1/users", json={**person("b@x.example.com"), "name": "Silencia"}
            )
            assert problem(refused)[:2] == (503, "unavailable")
            assert refused.headers["retry-after"] == "1"
            assert 2 < time.monotonic() - started < 6
            assert silent.fell_silent.is_set()
            assert face("POST", "/v1/users", json=person("c@silent.example.com")).status_code == 201


def test_every_connection_is_busy(migrated_postgresql_url: str) -> None:
    with member_served(migrated_postgresql_url, lock_timeout="1") as face:
        locker = open_database(migrated_postgresql_url)

        def create(number: int) -> int:
            email = f"busy{number}@example.com"
            return face("POST", "/v1/users", json=person(email)).status_code

        with ThreadPoolExecutor(40) as pool:
            with locker.connect() as connection:
                connection.execute(text("LOCK TABLE users IN EXCLUSIVE MODE"))
                asked = [pool.submit(create, number) for number in range(32)]
                time.sleep(0.3)
                started = time.monotonic()
                health = [
                    httpx.get(f"{face.url}{path}").status_code for path in ("/livez", "/readyz")
                ]
                assert (health, time.monotonic() - started < 1.5) == ([200, 200], True)
                statuses = {each.result() for each in asked}
            assert statuses == {503}
            assert create(100) == 201
        locker.engine.dispose()


def let_write(face: Face, most: int) -> None:
    """Let the server write files of so many bytes only."""
    resource.prlimit(face.process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def test_a_disk_that_is_full(migrated_sqlite_url: str) -> None:
    with member_served(migrated_sqlite_url) as face:
        assert face("GET", "/v1/users").json()["items"] == []
        let_write(face, 4096)
        refused = face("POST", "/v1/users", json=person("full@example.com"))
        assert problem(refused)[:2] == (503, "unavailable")
        bulk = b"name,email,role\n" + b"Ana,full2@example.com,member\n" * 1000
        imported = face(
            "POST", "/v1/users:import", content=bulk, headers={"Content-Type": "text/csv"}
        )
        assert problem(imported)[:2] == (503, "unavailable")
        assert face("GET", "/v1/users").json()["items"] == []
        let_write(face, resource.RLIM_INFINITY)
        assert face("POST", "/v1/users", json=person("full@example.com")).status_code == 201
        assert broken_promises(migrated_sqlite_url) == {}


def test_a_server_that_is_killed_in_the_middle_of_writes(database_url: str) -> None:
    with member_served(database_url) as face, under_load(face) as load:
        load.wait_for(20)
        os.kill(face.process.pid, signal.SIGKILL)
        face.process.wait()
    assert load.lost() == set()
    assert broken_promises(database_url) == {}
    with serving(database_url) as again:
        assert again("GET", "/v1/users?limit=1&total=true").json()["total"] >= 20
