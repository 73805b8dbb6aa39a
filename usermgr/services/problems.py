"""What is wrong with the rows of an import: counted, and kept on disk by the rows' numbers."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import IO, Final

from usermgr.formats.files import temporary_lines
from usermgr.formats.readers import Problem

FIRST: Final = 10
"""How many problems a message tells."""


class Problems:
    """The problems of one import; memory does not grow with their number.

    Those of the rows themselves are found in the order of their numbers, those that the database
    finds come later and are in that order again: ``__iter__`` merges both.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._spools: list[IO[str]] = []

    @property
    def total(self) -> int:
        """How many rows were refused."""
        return self.counts.total()

    def begin(self) -> None:
        """Begin a series whose numbers ascend."""
        self._spools.append(temporary_lines())

    def add(self, found: Iterable[Problem]) -> None:
        """Add to the series that was begun last."""
        for problem in found:
            self.counts[problem.code] += 1
            self._spools[-1].write(json.dumps(problem) + "\n")

    def clear(self) -> None:
        """Forget everything, for another attempt."""
        self.close()
        self.counts.clear()
        self._spools.clear()

    def __iter__(self) -> Iterator[Problem]:
        series = []
        for spool in self._spools:
            spool.seek(0)
            series.append(Problem(*json.loads(line)) for line in spool)
        return heapq.merge(*series, key=lambda problem: problem.number)

    def close(self) -> None:
        """Remove what is on disk."""
        for spool in self._spools:
            spool.close()
