"""Starting and ending the server."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.commands import Command
from tests.support.databases import open_database
from tests.support.serving import serving
from usermgr.api.serving import listen
from usermgr.db import schema
from usermgr.db.engine import Database


def test_a_missing_or_stale_schema_is_not_served(cli: Command, database: Database) -> None:
    schema.downgrade(database, "0004")
    stale = cli("serve")
    assert (stale.exit_code, stale.stdout) == (5, "")
    assert (
        f'the schema of "{database.description}" is at revision 0004, this program needs 0005'
        in (stale.stderr)
    )
    schema.downgrade(database, "base")
    missing = cli("serve")
    assert (missing.exit_code, missing.stdout) == (5, "")
    assert "(revision none, this program needs 0005)" in missing.stderr


@pytest.mark.any_database
def test_a_port_that_is_taken(cli: Command, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = cli("serve", "--port", str(port))
    assert (refused.exit_code, refused.stdout) == (5, "")
    told = f"error: cannot listen on 127.0.0.1 port {port}: Address already in use"
    assert refused.stderr.splitlines()[0].startswith(told)


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        taken, _ = listener.accept()
        with taken:
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.any_database
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])  # noqa: S104
def test_a_developers_token_stays_on_loopback(cli: Command, host: str) -> None:
    refused = cli("serve", "--dev", "--host", host)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: --dev serves on loopback only, not on {host}\n")


def test_a_developers_token_dies_with_the_process(migrated_sqlite_url: str) -> None:
    with serving(migrated_sqlite_url, "--dev") as face:
        assert face.process.stdout is not None
        token = face.process.stdout.readline().strip()
        assert face("GET", "/v1/users/1", token=token).status_code == 404
        assert token not in face.cli("token", "list").stdout
    with serving(migrated_sqlite_url, "--dev") as face:
        assert face("GET", "/v1/users/1", token=token).status_code == 401


def test_workers_are_replaced_and_end_with_their_parent(migrated_sqlite_url: str) -> None:
    with serving(migrated_sqlite_url, "--workers", "2") as face:
        parent = face.process.pid
        assert face("GET", "/readyz", token=None).status_code == 200
        first = children(parent)
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: len(children(parent)) == 2 and first[0] not in children(parent))
        second = children(parent)
        assert face("GET", "/readyz", token=None).status_code == 200
        face.process.kill()
        face.process.wait()
        wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in second))
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{face.url}/livez")


def test_a_running_request_ends_before_the_server_does(migrated_sqlite_url: str) -> None:
    answers: list[httpx.Response] = []
    body = {"name": "Q", "email": "q@example.com", "role": 1, "no_password": True}
    with serving(migrated_sqlite_url) as face:
        face.cli("role", "create", "common")
        with open_database(migrated_sqlite_url).connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # Keeps whoever writes waiting.
            ask = threading.Thread(
                target=lambda: answers.append(face("POST", "/v1/users", json=body))
            )
            ask.start()
            time.sleep(0.5)
            face.process.terminate()
            time.sleep(0.5)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{face.url}/livez")
            assert face.process.poll() is None
            connection.rollback()
        ask.join()
        assert [answer.status_code for answer in answers] == [201]
        assert face.process.wait(timeout=10) == 0
        assert face.cli("user", "list", "-o", "json").json == [answers[0].json()]


def children(process: int) -> list[int]:
    """The processes that the process has started and that live."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in listed.split()]


def wait_until(what: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it is so; fail where that takes too long."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)
