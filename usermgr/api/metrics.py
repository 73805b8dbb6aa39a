"""What Prometheus is told: requests, latencies, connections, the queue for hashes, changed users.

With several worker processes ``FOLDER_VARIABLE`` names a folder in which each of them keeps its
numbers; whichever of them is asked tells the sum. It has to be set before prometheus_client is
imported, which is why that happens in here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from starlette.types import Scope

from usermgr.api.watching import method_of, route_of

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

Reading = Callable[[], float]


class Metrics:
    """The metrics of this process, and of those beside it."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "usermgr_http_requests",
            "Finished requests.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "usermgr_http_request_seconds",
            "How long requests took.",
            ("route",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._users = Counter(
            "usermgr_users_changed",
            "Users that requests created, updated or deleted.",
            ("change",),
            registry=registry,
        )
        self._gauges = {
            name: Gauge(name, meaning, registry=registry, multiprocess_mode="livesum")
            for name, meaning in _GAUGES.items()
        }
        self._readings: dict[str, Reading] = {}
        self._known: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self._is_shared = FOLDER_VARIABLE in os.environ

    def watch(self, name: str, reading: Reading) -> None:
        """Let a gauge show what the function returns."""
        self._readings[name] = reading

    def finished(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Count a request."""
        route = route_of(scope) or "none"
        # Others' paths and methods are anybody's, and there is no end of them.
        key = (method_of(scope) if route != "none" else "other", route, str(status or "none"))
        known = self._known.get(key)
        if known is None:
            known = self._requests.labels(*key), self._seconds.labels(route)
            self._known[key] = known
        requests, latencies = known
        requests.inc()
        latencies.observe(seconds)
        if self._is_shared:
            self._read()

    def changed(self, counts: Mapping[str, int]) -> None:
        """Count the users that an operation changed, by the counts of the operation."""
        for change in ("create", "update", "delete"):
            if number := counts.get(f"user.{change}"):
                self._users.labels(change).inc(number)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess

        self._read()
        if not self._is_shared:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        multiprocess.MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)

    def _read(self) -> None:
        for name, reading in self._readings.items():
            self._gauges[name].set(reading())


_GAUGES: Final = {
    "usermgr_http_requests_running": "Requests that are worked on.",
    "usermgr_pool_connections_used": "Connections to the database that work.",
    "usermgr_pool_connections_idle": "Connections to the database that wait for work.",
    "usermgr_hashes_running": "Password hashes that are computed.",
    "usermgr_hashes_waiting": "Requests that wait until a core is free to hash a password.",
}


def forget_process(folder: Path, process: int) -> None:
    """Let what a process that ended was working on no longer count."""
    for file in folder.glob(f"gauge_live*_{process}.db"):
        file.unlink(missing_ok=True)
