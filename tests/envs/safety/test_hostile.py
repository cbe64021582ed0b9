"""Whatever happens in whatever order, at whatever rate.

The motors are sent one smooth motion within all limits.
"""

import hostile
import pytest


@pytest.mark.parametrize("seed", [0, 1000])
def test_a_setpoint_is_continuous_over_states_episodes_actors_faults_and_rates(seed: int) -> None:
    worst, taken, begun = hostile.days(12_000, seed)
    assert taken > 3000 and begun > 5
    assert (worst <= 1 + 1e-6).all(), "position, velocity and acceleration in units of their limits"
