"""The parameters of new hashes, between OWASP's minimum and the caps on what is verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEMORY_MAX: Final = 256 * 1024 * 1024
WORK_MAX: Final = 1024 * 1024 * 1024
"""Bytes of memory, and bytes times passes: about a second."""

LANES_MAX: Final = 64

LEAST_MEMORY: Final = 7168
LEAST_WORK: Final = 7168 * 5
"""KiB, and KiB times passes: of OWASP's equal choices from m=47104, t=1 to m=7168, t=5."""


@dataclass(frozen=True, slots=True)
class Argon2Costs:
    """The argon2id parameters of new hashes: KiB of memory, passes over it, and lanes."""

    memory: int = 19456
    passes: int = 2
    lanes: int = 1

    def __str__(self) -> str:
        return f"m={self.memory},t={self.passes},p={self.lanes}"

    def problem(self) -> str | None:
        """What forbids them: OWASP's minimum, or the caps on what is verified."""
        if self.memory < LEAST_MEMORY or self.memory * self.passes < LEAST_WORK:
            return (
                f"{self} is below OWASP's minimum: at least {LEAST_MEMORY} KiB, and memory times "
                f"passes at least {LEAST_WORK}"
            )
        memory = self.memory * 1024
        if memory > MEMORY_MAX or memory * self.passes > WORK_MAX or self.lanes > LANES_MAX:
            return f"{self} would take too much memory or time to be verified"
        return None


DEFAULT_COSTS: Final = Argon2Costs()
