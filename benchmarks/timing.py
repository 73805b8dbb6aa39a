"""Two commands side by side: run in turns, compared by their medians."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contender:
    """A command line, and what it must print for its time to count."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    expected: str

    def seconds(self) -> float:
        """The time of one run. Raises RuntimeError when it does not do its work."""
        start = time.perf_counter()
        done = subprocess.run(
            self.argv, env=self.env, cwd=self.cwd, capture_output=True, text=True, check=False
        )
        elapsed = time.perf_counter() - start
        if done.returncode or self.expected not in done.stdout:
            raise RuntimeError(f"{self.name}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return elapsed


@dataclass(frozen=True)
class Comparison:
    """What one comparison found. Times are medians in seconds; the ratio is of those."""

    ours: str
    theirs: str
    our_seconds: float
    their_seconds: float
    goal: float

    @property
    def ratio(self) -> float:
        """How many times as long ours took."""
        return self.our_seconds / self.their_seconds

    @property
    def met(self) -> bool:
        """Whether the goal is met, at the precision that is printed."""
        return round(self.ratio, 2) <= self.goal


def compare(ours: Contender, theirs: Contender, *, goal: float, runs: int) -> Comparison:
    """Run both in turns, after a run of each that fills the caches and compiles the modules."""
    for contender in (ours, theirs):
        contender.seconds()
    times: dict[str, list[float]] = {ours.name: [], theirs.name: []}
    for number in range(runs):
        # Who goes first changes, so that neither always runs on what the other has left warm.
        for contender in (ours, theirs) if number % 2 else (theirs, ours):
            times[contender.name].append(contender.seconds())
    our_seconds, their_seconds = (statistics.median(times[c.name]) for c in (ours, theirs))
    return Comparison(ours.name, theirs.name, our_seconds, their_seconds, goal)
