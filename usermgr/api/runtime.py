"""What one process of the server works with, made when it starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from usermgr.api.auth import Bearers
from usermgr.config import Settings
from usermgr.db.connections import Pool
from usermgr.db.engine import Database

THREADS: Final = 16
"""Requests that one process works on at once; each of them may hold one connection."""

POOL_SECONDS: Final = 5.0
"""How long a request waits for a connection that another one holds."""

LONGEST_STATEMENT: Final = 15.0
LONGEST_LOCK: Final = 5.0
LONGEST_CONNECT: Final = 5.0
"""Seconds, whatever the settings allow the command line: a request has an end, also at shutdown."""


@dataclass(slots=True)
class Runtime:
    """One process: its settings, its pool of connections, and who was found to bear a token.

    ``is_stopping`` says that the process ends as soon as its running requests have.
    """

    settings: Settings
    database: Database
    bearers: Bearers
    is_stopping: bool = False

    def close(self) -> None:
        """Let go of every connection."""
        self.bearers.close()
        self.database.close()


def make_runtime(settings: Settings, *, developer: str | None = None) -> Runtime:
    """The runtime of a process. ``developer`` is the digest of the secret of its own token."""
    limited = limited_settings(settings)
    database = Database(limited, pool=Pool(THREADS, POOL_SECONDS))
    return Runtime(limited, database, Bearers(database, developer=developer))


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
