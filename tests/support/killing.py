"""Commands that are killed: forked from a process that has imported everything already.

So most of the time that a moment is drawn from is the work itself, and a run takes a tenth of a
second.
"""

from __future__ import annotations

import io
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

from sqlalchemy import text

from tests.support.databases import open_database


def fork_server(*modules: str) -> ForkServerContext:
    """Starts processes in which a command needs to import nothing any more."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "psycopg2", *modules])
    return context


def start_command(
    processes: ForkServerContext, url: str, words: Sequence[str], **env: str
) -> BaseProcess:
    """The process of ``usermgr`` with these words, without a word; its status is its exit code."""
    process = processes.Process(target=_run, args=(tuple(words), url, env))
    process.start()
    return process


def wait_until_nobody_is_there(url: str) -> None:
    """A server works on for a moment for a client that was killed."""
    database = open_database(url)
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with database.connect() as connection:
        while not database.is_sqlite and connection.execute(others).scalar_one():
            time.sleep(0.01)
            connection.rollback()
    database.engine.dispose()


def _run(words: tuple[str, ...], url: str, env: dict[str, str]) -> None:
    from usermgr.cli.app import run

    environ = {"USERMGR_DATABASE_URL": url, "USERMGR_LOCK_TIMEOUT": "60", **env}
    stdin, stdout, stderr = io.StringIO(), io.StringIO(), io.StringIO()
    raise SystemExit(run(words, environ=environ, stdin=stdin, stdout=stdout, stderr=stderr))
