"""Fixtures: every test runs in a folder of its own, on databases of its own.

A test that takes ``database``, ``empty_database``, ``database_url``, ``cli`` or ``cli_process``
runs twice, on SQLite and on PostgreSQL; ``backend`` says on which. The PostgreSQL is a real server,
the one that USERMGR_TEST_DATABASE_URL names or one that is started for the run.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.commands import Command, InsideCommand, Result, run_process, settings_for
from tests.support.databases import (
    CollectStatements,
    PostgresDatabases,
    collect_statements,
    databases_on,
    initialise,
    open_database,
)
from tests.support.postgres import Server, running_server
from usermgr.db.engine import Database
from usermgr.urls import sqlite_path

# Read now, because the tests do not see the variables of the machine.
CHOSEN_SERVER = os.environ.get("USERMGR_TEST_DATABASE_URL")
# The same examples in every run, and no limit of time for one of them on a busy machine.
settings.register_profile("usermgr", derandomize=True, database=None, deadline=None)
settings.load_profile("usermgr")

_MEMORY = Path("/dev/shm")
_ROOM = 4 * 2**30

_HIDDEN = ("USERMGR_", "_USERMGR_", "PG", "DATABASE_URL")


def pytest_configure() -> None:
    """Let interrupts reach the programs that tests start.

    A shell starts what runs in its background with SIGINT ignored, and every process hands that
    down to those it starts, as nohup does with SIGHUP.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    _work_in_memory()


def _work_in_memory() -> None:
    """Put temporary folders where syncing costs nothing, if there is room and nobody chose others.

    SQLite waits for the disk two times in every transaction.
    """
    if "TMPDIR" in os.environ or not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK):
        return
    found = os.statvfs(_MEMORY)
    if found.f_bavail * found.f_frsize >= _ROOM and not found.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays until the end: most of what there is."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let tests of the command line alone run once: the whole run has ten minutes."""
    twice = {id(item) for item in items if _is_second_run(item)}
    config.hook.pytest_deselected(items=[item for item in items if id(item) in twice])
    items[:] = [item for item in items if id(item) not in twice]


def _is_second_run(item: pytest.Item) -> bool:
    if item.get_closest_marker("any_database") is None or not isinstance(item, pytest.Function):
        return False
    return hasattr(item, "callspec") and item.callspec.params.get("backend") == "postgresql"


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in an empty folder and sees no setting of the machine it runs on."""
    monkeypatch.chdir(tmp_path)
    for variable in list(os.environ):
        if variable.startswith(_HIDDEN):
            monkeypatch.delenv(variable)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    """The PostgreSQL server of this run."""
    if CHOSEN_SERVER:
        yield Server(url=CHOSEN_SERVER, tcp_url=CHOSEN_SERVER)
        return
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_databases(postgresql_server: Server) -> Iterator[PostgresDatabases]:
    """Creates databases on the server, and drops them."""
    with databases_on(postgresql_server) as databases:
        yield databases


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the current schema, and nothing in it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('template') / 'template.db'}"
    initialise(url)
    return sqlite_path(url)


@pytest.fixture
def postgresql_url(postgresql_databases: PostgresDatabases) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    name = postgresql_databases.create()
    yield postgresql_databases.server.database(name)
    postgresql_databases.drop(name)


@pytest.fixture
def migrated_postgresql_url(postgresql_databases: PostgresDatabases) -> Iterator[str]:
    """The URL of a PostgreSQL database with the current schema."""
    name = postgresql_databases.clone()
    yield postgresql_databases.server.database(name)
    postgresql_databases.give_back(name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def migrated_sqlite_url(sqlite_url: str, sqlite_template: Path) -> str:
    """The URL of a SQLite file with the current schema."""
    shutil.copyfile(sqlite_template, sqlite_path(sqlite_url))
    return sqlite_url


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """Which database the test runs on."""
    return str(request.param)


@pytest.fixture
def empty_database_url(backend: str, request: pytest.FixtureRequest) -> str:
    """The URL of a database without a schema."""
    url: str = request.getfixturevalue(f"{backend}_url")
    return url


@pytest.fixture
def database_url(backend: str, request: pytest.FixtureRequest) -> str:
    """The URL of a database with the current schema."""
    url: str = request.getfixturevalue(f"migrated_{backend}_url")
    return url


@pytest.fixture
def other_database_url(
    backend: str, tmp_path: Path, sqlite_template: Path, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The URL of one more database like ``database_url``."""
    if backend == "sqlite":
        path = tmp_path / "other.db"
        shutil.copyfile(sqlite_template, path)
        yield f"sqlite:///{path}"
        return
    databases: PostgresDatabases = request.getfixturevalue("postgresql_databases")
    name = databases.clone()
    yield databases.server.database(name)
    databases.drop(name)


@pytest.fixture
def empty_database(empty_database_url: str) -> Iterator[Database]:
    """A database without a schema."""
    database = open_database(empty_database_url)
    yield database
    database.engine.dispose()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with the current schema."""
    database = open_database(database_url)
    yield database
    database.engine.dispose()


@pytest.fixture
def statements() -> CollectStatements:
    """``with statements(database) as sent:`` collects the SQL that is sent inside the block."""
    return collect_statements


@pytest.fixture
def cli(database_url: str) -> Command:
    """Runs a command line on the database, inside this process, as the actor ``tester``."""

    return InsideCommand(database_url)


@pytest.fixture
def cli_process(database_url: str, tmp_path: Path) -> Command:
    """Runs a command line on the database, as a process of its own in the test's folder."""

    def run(*argv: str, stdin: str | bytes = "", env: Mapping[str, str] | None = None) -> Result:
        return run_process(argv, stdin, {**settings_for(database_url), **(env or {})}, tmp_path)

    return run
