"""Hashing many passwords: on all cores, in order, in step with whoever asks for the next one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from usermgr.hash_limits import Argon2Costs
from usermgr.passwords import hash_password

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

AHEAD: Final = 1_000
"""How many things without work are passed at most to find some for every core."""


def hash_all(
    secrets: Iterable[tuple[T, str | None]], costs: Argon2Costs, *, progress: Callable[[int], None]
) -> Iterator[tuple[T, str | None]]:
    """Each thing with the hash of its password, in their order; None stays None.

    ``progress`` is told the number of hashes made since the last call.
    """
    return on_all_cores(lambda secret: hash_password(secret, costs), secrets, progress=progress)


def on_all_cores(
    work: Callable[[U], V],
    items: Iterable[tuple[T, U | None]],
    *,
    progress: Callable[[int], None],
) -> Iterator[tuple[T, V | None]]:
    """Each thing with what the work makes of its item, in their order; None stays None.

    argon2 lets go of the interpreter while it works, so threads use every core. ``progress`` is
    told the number of items done since the last call.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    workers = os.cpu_count() or 1
    waiting: deque[tuple[T, Future[V] | None]] = deque()
    working = 0

    def take() -> tuple[T, V | None]:
        nonlocal working
        thing, future = waiting.popleft()
        if future is None:
            return thing, None
        made = future.result()
        working -= 1
        progress(1)
        return thing, made

    pool = ThreadPoolExecutor(workers)
    try:
        for thing, item in items:
            waiting.append((thing, None if item is None else pool.submit(work, item)))
            working += item is not None
            while working > workers * 4 or len(waiting) > AHEAD:
                yield take()
        while waiting:
            yield take()
    finally:
        pool.shutdown(cancel_futures=True)


def measure_rate(costs: Argon2Costs) -> float:
    """How many passwords this machine hashes in a second, on all cores."""
    import time

    sample = [(None, "a password to measure with")] * (os.cpu_count() or 1) * 4
    start = time.perf_counter()
    for _ in hash_all(sample, costs, progress=lambda _: None):
        pass
    return len(sample) / (time.perf_counter() - start)
