"""Calibration: the delays of a simulated arm are found again."""

import numpy as np
import pytest
from fakes import FakeClock

from fewstep.envs import Field, RobotError, Spec, episode
from fewstep.envs.calibrate import GRID, SECONDS, Sweep, delay
from fewstep.envs.limits import Limits
from fewstep.envs.safety import SafeRobot
from fewstep.envs.simulated_arm import SimulatedArm
from fewstep.envs.states import State, Watch


@pytest.mark.parametrize("hz", [50.0, 500.0])
@pytest.mark.parametrize(("observing", "acting"), [(0.0, 0.0), (0.05, 0.1), (0.1, 0.033), (0.02, 0.4)])
def test_known_delays_are_recovered_within_half_a_tick(hz: float, observing: float, acting: float):
    arm = SimulatedArm(hz=hz, observing=observing, acting=acting, lag=0.0, clock=FakeClock())
    safe = SafeRobot(arm, Limits.of(arm.spec), Watch(soft=0.0, observation=1.0))
    safe.state = State.ACTIVE
    steps = [s for s in episode(safe, Sweep(arm.spec), seed=1, max_seconds=SECONDS) if s]
    assert safe.state is State.ACTIVE
    time = np.array([s.obs.time for s in steps])
    sent, measured = np.stack([s.sent for s in steps]), np.stack([s.obs.data["joints"] for s in steps])
    assert 0.03 < np.ptp(sent, axis=0).max() < 0.2, "a small motion"
    seen = np.array([s.obs.stamps["joints"] for s in steps])
    assert np.median(time - seen) == pytest.approx(observing, abs=0.5 / hz + 1e-6)
    assert delay(time, sent, seen, measured) == pytest.approx(acting, abs=0.5 / hz + GRID)


def test_an_arm_that_does_not_follow_has_no_delay():
    time = np.arange(500) / 100
    sent = np.sin(time)[:, None]
    for measured in (np.zeros((500, 1)), np.full((500, 1), np.nan), np.random.default_rng(0).normal(size=(500, 1))):
        with pytest.raises(RobotError, match="does not follow"):
            delay(time, sent, time, measured)


def test_without_bounds_no_motion_is_small():
    with pytest.raises(RobotError, match="needs low and high"):
        Sweep(Spec({"x": Field((1,))}, {"x": Field((1,))}, 10))


def test_a_motion_that_was_broken_off_tells_no_delay():
    for n in (0, 1, 100):
        time, x = np.arange(n) / 100, np.sin(np.arange(n))[:, None]
        with pytest.raises(RobotError, match="broken off"):
            delay(time, x, time, x)
