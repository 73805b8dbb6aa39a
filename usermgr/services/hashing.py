"""Hashing many passwords: on all cores, in order, in step with whoever asks for the next one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from usermgr.passwords import hash_password


def hash_all(
    secrets: Iterable[str | None], *, progress: Callable[[int], None]
) -> Iterator[str | None]:
    """The hashes of the passwords, in their order; None stays None.

    argon2 lets go of the interpreter while it works, so threads use every core. ``progress`` is
    told the number of hashes made since the last call.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    workers = os.cpu_count() or 1
    waiting: deque[Future[str] | None] = deque()

    def next_hash() -> str | None:
        future = waiting.popleft()
        if future is None:
            return None
        stored = future.result()
        progress(1)
        return stored

    pool = ThreadPoolExecutor(workers)
    try:
        for secret in secrets:
            waiting.append(None if secret is None else pool.submit(hash_password, secret))
            if len(waiting) > workers * 4:
                yield next_hash()
        while waiting:
            yield next_hash()
    finally:
        pool.shutdown(cancel_futures=True)


def measure_rate() -> float:
    """How many passwords this machine hashes in a second, on all cores."""
    import time

    sample = ["a password to measure with"] * (os.cpu_count() or 1) * 4
    start = time.perf_counter()
    for _ in hash_all(sample, progress=lambda _: None):
        pass
    return len(sample) / (time.perf_counter() - start)
