"""One server for each database, for all tests of a worker: what they make has names of its own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.databases import PostgresDatabases
from tests.support.serving import Face, serving


@pytest.fixture(scope="session")
def faces(
    postgresql_databases: PostgresDatabases,
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Face]]:
    """Starts the server of a database when the first test needs it; another one for a purpose."""
    started: dict[tuple[str, str], Face] = {}
    with contextlib.ExitStack() as stack:

        def start(backend: str, purpose: str = "") -> Face:
            if (backend, purpose) not in started:
                if backend == "sqlite":
                    path = tmp_path_factory.mktemp("served") / "served.db"
                    shutil.copyfile(sqlite_template, path)
                    url = f"sqlite:///{path}"
                else:
                    name = postgresql_databases.clone()
                    stack.callback(postgresql_databases.drop, name)
                    url = postgresql_databases.server.database(name)
                started[backend, purpose] = stack.enter_context(serving(url))
            return started[backend, purpose]

        yield start


@pytest.fixture
def face(backend: str, faces: Callable[..., Face]) -> Face:
    """The server of the database; it and what is stored there are shared by all tests."""
    return faces(backend)
