"""Hashing many passwords: on all cores, in order, in step with whoever asks for the next one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from usermgr.passwords import hash_password

T = TypeVar("T")

AHEAD: Final = 1_000
"""How many things without a password are passed at most to find work for every core."""


def hash_all(
    secrets: Iterable[tuple[T, str | None]], *, progress: Callable[[int], None]
) -> Iterator[tuple[T, str | None]]:
    """Each thing with the hash of its password, in their order; None stays None.

    argon2 lets go of the interpreter while it works, so threads use every core. ``progress`` is
    told the number of hashes made since the last call.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    workers = os.cpu_count() or 1
    waiting: deque[tuple[T, Future[str] | None]] = deque()
    hashing = 0

    def take() -> tuple[T, str | None]:
        nonlocal hashing
        thing, future = waiting.popleft()
        if future is None:
            return thing, None
        stored = future.result()
        hashing -= 1
        progress(1)
        return thing, stored

    pool = ThreadPoolExecutor(workers)
    try:
        for thing, secret in secrets:
            waiting.append((thing, None if secret is None else pool.submit(hash_password, secret)))
            hashing += secret is not None
            while hashing > workers * 4 or len(waiting) > AHEAD:
                yield take()
        while waiting:
            yield take()
    finally:
        pool.shutdown(cancel_futures=True)


def measure_rate() -> float:
    """How many passwords this machine hashes in a second, on all cores."""
    import time

    sample = [(None, "a password to measure with")] * (os.cpu_count() or 1) * 4
    start = time.perf_counter()
    for _ in hash_all(sample, progress=lambda _: None):
        pass
    return len(sample) / (time.perf_counter() - start)
