"""calibrate: parameters for a machine of any speed, never below OWASP's minimum."""

from __future__ import annotations

import pytest

from usermgr.hash_limits import Argon2Costs
from usermgr.services.calibrating import calibrate, propose


@pytest.mark.parametrize(
    ("gibibytes_a_second", "target", "memory", "proposed"),
    [
        # The memory that is allowed first, then passes to fill the time.
        (1.0, 0.25, 65_536, "m=65536,t=4,p=1"),
        (1.0, 0.25, 131_072, "m=131072,t=2,p=1"),
        (1.0, 0.25, 262_144, "m=262144,t=1,p=1"),
        (4.0, 0.25, 262_144, "m=262144,t=4,p=1"),
        (1.0, 0.1, 262_144, "m=104857,t=1,p=1"),
        # What the caps would refuse to verify is not proposed.
        (100.0, 5.0, 262_144, "m=262144,t=4,p=1"),
        (100.0, 0.5, 7168, "m=7168,t=146,p=1"),
        # The machine is too slow, or the target too near: OWASP's minimum all the same.
        (0.01, 0.25, 65_536, "m=19456,t=2,p=1"),
        (1.0, 0.01, 65_536, "m=19456,t=2,p=1"),
        (1.0, 0.001, 7168, "m=7168,t=5,p=1"),
        (1.0, 0.001, 12_288, "m=12288,t=3,p=1"),
    ],
)
def test_parameters_for_a_machine(
    gibibytes_a_second: float, target: float, memory: int, proposed: str
) -> None:
    def measure(costs: Argon2Costs) -> float:
        return costs.memory * costs.passes / (gibibytes_a_second * 1024 * 1024)

    found = propose(target, memory, measure)

    assert str(found) == proposed
    assert found.problem() is None


@pytest.mark.parametrize("memory", [7168, 9000, 12_288, 40_000, 47_104, 262_144])
@pytest.mark.parametrize("speed", [0.001, 0.1, 1, 3, 50])
@pytest.mark.parametrize("target", [0.01, 0.1, 0.25, 1, 5])
def test_nothing_is_proposed_that_may_not_be_set(memory: int, speed: float, target: float) -> None:
    found = propose(target, memory, lambda costs: costs.memory * costs.passes / speed / 1024**2)
    assert found.problem() is None


def test_this_machine() -> None:
    found = calibrate(target_ms=10, memory=7168)
    assert found.milliseconds > 0
    assert found.hashes_per_second > 0
