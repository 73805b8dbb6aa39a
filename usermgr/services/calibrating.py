"""Argon2 parameters for this machine: the memory that is allowed, then passes to fill the time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

from usermgr.hash_limits import DEFAULT_COSTS, LEAST_MEMORY, LEAST_WORK, WORK_MAX, Argon2Costs
from usermgr.passwords import spend
from usermgr.records import Calibration
from usermgr.services.hashing import measure_rate

RUNS: Final = 3

Measure = Callable[[Argon2Costs], float]


def calibrate(*, target_ms: int, memory: int, measure: Measure | None = None) -> Calibration:
    """Parameters whose hash takes about ``target_ms``, with at most ``memory`` KiB.

    Source: RFC 9106, section 4: the memory that can be afforded first, then the passes. They are
    never below OWASP's minimum, though it may take longer than the target. ``measure`` takes the
    seconds of one hash on one core.
    """
    measure = measure or measure_seconds
    costs = propose(target_ms / 1000, memory, measure)
    return Calibration(
        argon2_memory=costs.memory,
        argon2_passes=costs.passes,
        argon2_lanes=costs.lanes,
        milliseconds=round(measure(costs) * 1000, 1),
        target_milliseconds=target_ms,
        hashes_per_second=round(measure_rate(costs), 1),
    )


def propose(target: float, allowed: int, measure: Measure) -> Argon2Costs:
    """The parameters, with at most ``allowed`` KiB; times are seconds."""
    memory, once = allowed, measure(Argon2Costs(allowed, 1))
    if once > target:
        # Time is about proportional to memory times passes.
        memory = max(int(memory * target / once), LEAST_MEMORY)
        once = measure(Argon2Costs(memory, 1))
    passes = max(round(target / once), 1)
    if memory * passes < LEAST_WORK:
        # Of OWASP's choices, which are all the same to it, the usual one is best known.
        if allowed >= DEFAULT_COSTS.memory:
            return DEFAULT_COSTS
        return Argon2Costs(allowed, -(-LEAST_WORK // allowed))
    return Argon2Costs(memory, min(passes, WORK_MAX // (memory * 1024)))


def measure_seconds(costs: Argon2Costs) -> float:
    """How long one hash takes here: the median of a few, after one that warms up."""
    spend(costs=costs)
    taken = []
    for _ in range(RUNS):
        began = time.perf_counter()
        spend(costs=costs)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
