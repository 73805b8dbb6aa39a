"""kill -9 at any moment of `password strengthen`: each hash is the old one or a wrapped one."""

from __future__ import annotations

import contextlib
import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import text

from tests.support.commands import Command, process_environment
from tests.support.consistency import broken_promises
from tests.support.imports import wait_until
from tests.support.published_hashes import PUBLISHED
from usermgr.db.engine import Database

KILLS = 15
"""On each of the two databases."""

BATCH, USERS = 3, 180
FORMS = ("ldap", "phpass", "crypt")


# The program, loaded once, and forked for every run: each is a process of its own, but does not
# spend a second on starting.
_RUNS = """
import os, sys
import argon2, sqlalchemy.dialects.postgresql, sqlalchemy.dialects.sqlite
import usermgr.cli.password, usermgr.services.password_report
import usermgr.services.password_verification
from usermgr.cli.app import run
for line in sys.stdin:
    child = os.fork()
    if not child:
        null = open(os.devnull, "r+")
        words = ["password", "strengthen", "--yes", "--batch", sys.argv[1]]
        os._exit(run(words, environ=os.environ, stdin=null, stdout=null, stderr=null))
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


class _Runs:
    """Starts the command, again and again, and kills it."""

    def __init__(self, url: str) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", _RUNS, str(BATCH)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**process_environment(), "USERMGR_DATABASE_URL": url},
        )

    def start(self) -> int:
        """Returns the number of the process."""
        assert self._parent.stdin is not None
        self._parent.stdin.write("\n")
        self._parent.stdin.flush()
        return int(self._read())

    def kill(self, process: int) -> None:
        """Returns when it has ended, by this or by itself."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        assert self._read() == "ended\n"

    def close(self) -> None:
        """End the one that starts them."""
        self._parent.kill()
        self._parent.communicate()

    def _read(self) -> str:
        assert self._parent.stdout is not None
        return self._parent.stdout.readline()


def _state(database: Database) -> tuple[Counter[str], int, list[int]]:
    """The hashes by kind, how many changes say "strengthen", and the ids that are wrapped."""
    with database.connect() as connection:
        stored = connection.execute(text("SELECT id, password FROM users ORDER BY id")).all()
    old = {PUBLISHED[form][0][1] for form in FORMS}
    kinds = Counter("old" if h in old else h[: h.index("$", 1)] for _, h in stored)
    return kinds, _changes(database), [user for user, h in stored if h not in old]


def _changes(database: Database) -> int:
    counted = text("SELECT count(*) FROM changes WHERE action = 'strengthen'")
    with database.connect() as connection:
        return int(connection.execute(counted).scalar_one())


def _wait_for(database: Database, changes: int) -> None:
    wait_until(lambda: _changes(database) >= changes)


def _seconds_of_some_batches(runs: _Runs, database: Database) -> float:
    """So long do the start and four batches take, on a machine that may have other things to do."""
    began = time.monotonic()
    process = runs.start()
    _wait_for(database, 4 * BATCH)
    taken = time.monotonic() - began
    runs.kill(process)
    return taken


def _import(cli: Command) -> None:
    with Path("users.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["email", "name", "role", "password_hash"])
        for n in range(USERS):
            out.writerow([f"{n}@example.com", "N", "member", PUBLISHED[FORMS[n % 3]][0][1]])
    assert cli("user", "import", "users.csv", "--create-roles").exit_code == 0


def test_kill_at_random_moments_of_strengthen(
    cli: Command, database: Database, database_url: str
) -> None:
    _import(cli)
    draw = random.Random(3)
    wrapped_so_far: list[int] = []
    moments = set()
    with contextlib.closing(_Runs(database_url)) as runs:
        span = _seconds_of_some_batches(runs, database)
        for _ in range(KILLS):
            process = runs.start()
            _wait_for(database, len(wrapped_so_far) + BATCH * draw.randrange(3))
            time.sleep(draw.random() * span / 4)
            runs.kill(process)
            kinds, changes, wrapped = _state(database)
            assert set(kinds) <= {"old", "$usermgr-wrap"}
            assert kinds.total() == USERS
            # Batches are whole, in the order of the ids, and what was done stays done.
            assert changes == len(wrapped)
            assert len(wrapped) % BATCH == 0
            assert wrapped[: len(wrapped_so_far)] == wrapped_so_far
            moments.add(len(wrapped))
            wrapped_so_far = wrapped
    assert broken_promises(database_url) == {}
    assert len(moments) > 3, "the kills came before there was anything to interrupt"
    assert len(wrapped_so_far) < USERS, "there was nothing left to interrupt"

    assert cli("password", "strengthen", "--yes", "-q").exit_code == 0
    assert _state(database)[0] == Counter({"$usermgr-wrap": USERS})
    assert broken_promises(database_url) == {}
    for user, form in enumerate(FORMS, start=1):
        password = PUBLISHED[form][0][0]
        words = ("user", "verify-password", str(user), "--password-stdin")
        assert cli(*words, stdin=password).exit_code == 0
