"""What one process of the server works with, made when it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Final

from usermgr.api.auth import Bearers
from usermgr.api.failed_logins import FailedLogins
from usermgr.api.metrics import Metrics
from usermgr.api.repeats import Repeats
from usermgr.api.transfers import Transfers
from usermgr.config import Settings
from usermgr.db.connections import Pool
from usermgr.db.engine import Database

THREADS: Final = 16
"""Requests that one process works on at once; each of them may hold one connection."""

POOL_SECONDS: Final = 5.0
"""How long a request waits for a connection that another one holds."""

GRACE_SECONDS: Final = 2.0
"""How much later than the database's own limit a silent one is given up."""

LONGEST_STATEMENT: Final = 15.0
LONGEST_LOCK: Final = 5.0
LONGEST_CONNECT: Final = 5.0
"""Seconds, whatever the settings allow the command line: a request has an end, also at shutdown."""


@dataclass(slots=True)
class Runtime:
    """One process: its settings, its pool of connections, and who was found to bear a token.

    ``given`` are the settings without the timeouts of requests, for what takes as long as it takes.
    ``cores`` says how many of them are this process's. ``is_stopping`` says that the process ends
    as soon as its running requests have.
    """

    settings: Settings
    given: Settings
    database: Database
    bearers: Bearers
    cores: int
    metrics: Metrics = field(default_factory=Metrics)
    repeats: Repeats = field(default_factory=Repeats)
    transfers: Transfers = field(default_factory=Transfers)
    logins: FailedLogins = field(default_factory=FailedLogins)
    is_stopping: bool = False

    def other_database(self) -> Database:
        """The database with the timeouts of the command line, and connections of its own."""
        return Database(self.given)

    def close(self) -> None:
        """Let go of every connection."""
        self.bearers.close()
        self.database.close()


def make_runtime(
    settings: Settings, *, developer: str | None = None, processes: int = 1
) -> Runtime:
    """The runtime of one of so many processes.

    ``developer`` is the digest of the secret of its own token.
    """
    limited = limited_settings(settings)
    database = Database(limited, pool=Pool(THREADS, POOL_SECONDS, GRACE_SECONDS))
    bearers = Bearers(database, developer=developer)
    cores = max(1, len(os.sched_getaffinity(0)) // processes)
    return Runtime(limited, settings, database, bearers, cores)


def limited_settings(settings: Settings) -> Settings:
    """The settings with timeouts that no request exceeds."""
    return replace(
        settings,
        statement_timeout=_at_most(settings.statement_timeout, LONGEST_STATEMENT),
        lock_timeout=_at_most(settings.lock_timeout, LONGEST_LOCK),
        connect_timeout=_at_most(settings.connect_timeout, LONGEST_CONNECT),
    )


def _at_most(seconds: float, most: float) -> float:
    """The lesser of the two; 0 means no limit."""
    return min(seconds or most, most)
