"""What the control loop relies on in every Robot, as tests to subclass; needs pytest.

In a test file of your own:

    from fewstep.envs.testing import RobotContract

    class TestMyRobot(RobotContract):
        simulated = False

        def make_robot(self):
            return MyRobot()

and in your conftest.py, for errors that show their numbers:

    pytest.register_assert_rewrite("fewstep.envs.testing")
"""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from .loop import run_episode
from .robot import Command, Obs, Outcome, Robot
from .spec import Spec

HOLD = Command(None, "operator")


class Holder:
    """An actor that wants nothing."""

    def reset(self, seed: int | None = None) -> None:
        pass

    def act(self, obs: Obs) -> Command:
        return HOLD

    def sent(self, action: np.ndarray) -> None:
        pass


class RobotContract:
    """Conformance suite: subclass it as `class TestMyRobot(RobotContract)`, define `make_robot`.

    On hardware set `simulated = False`: then it is only ever told to hold, and no start is compared
    with another.
    """

    simulated = True
    seconds = 60.0  # time given to one episode; a few are enough on hardware
    tolerance = 1e-3  # how far a held action may lie from what is measured, in robot units
    # observations of the robot itself, beside those that measure an action
    still: tuple[str, ...] = ()
    # how far these may move in a second of holding, once the robot has settled, in robot units
    drift = 0.01

    def make_robot(self) -> Robot:
        """Return a new robot of the kind under test."""
        raise NotImplementedError

    @pytest.fixture
    def robot(self) -> Iterator[Robot]:
        robot = self.make_robot()
        robot.reset(0)
        yield robot
        robot.close()

    def only_simulated(self) -> None:
        if not self.simulated:
            pytest.skip("moves the robot, or compares what only a simulation repeats")

    def test_the_spec_can_be_stored(self, robot: Robot) -> None:
        stored = json.dumps(robot.spec.to_json(), allow_nan=False)
        assert Spec.from_json(json.loads(stored)) == robot.spec
        assert np.isfinite([robot.spec.policy_hz, robot.spec.command_hz]).all()

    def test_the_seed_decides_the_start(self, robot: Robot) -> None:
        self.only_simulated()
        other = self.make_robot()
        other.reset(7)
        for seed in (7, 8, 7):
            robot.reset(seed)
            first = robot.observe()
            first = replace(first, data=dict(first.data))
            wait(robot, 3)
        assert_same(first, other.observe())
        other.close()

    def test_observing_twice_changes_nothing(self, robot: Robot) -> None:
        wait(robot, 1)
        first = robot.observe()
        second = robot.observe()
        if self.simulated:
            assert first.time == second.time, "observe() lets time pass"
            assert first.stamps == second.stamps
        unchanged = [key for key in first.data if first.stamps[key] == second.stamps[key]]
        assert_same(first, second, unchanged)

    def test_observations_are_what_the_spec_says(self, robot: Robot) -> None:
        for _ in range(3):
            obs = robot.observe()
            now = robot.clock.now()
            assert obs.data.keys() == robot.spec.observations.keys() == obs.stamps.keys()
            for key, field in robot.spec.observations.items():
                found = (obs.data[key].shape, obs.data[key].dtype)
                assert found == (field.shape, field.dtype), f"observation {key!r} is {found}"
                assert np.isfinite(obs.data[key]).all(), f"observation {key!r} is not finite"
                assert obs.stamps[key] <= obs.time <= now, (
                    f"observation {key!r} comes from the future"
                )
            wait(robot, 1)

    def test_an_observation_stays_as_it_was(self, robot: Robot) -> None:
        obs = robot.observe()
        data = {key: array.copy() for key, array in obs.data.items()}
        before = Obs(obs.time, data, dict(obs.stamps))
        if self.simulated:
            robot.command(Command(np.ones(robot.spec.action_size, np.float32), "operator"))
        wait(robot, 3)
        robot.observe()
        assert_same(obs, before)

    def test_a_command_lets_no_time_pass(self, robot: Robot) -> None:
        before = robot.observe()
        start = robot.clock.now()
        robot.command(
            Command(np.ones(robot.spec.action_size, np.float32), "operator")
            if self.simulated
            else HOLD
        )
        assert robot.clock.now() - start < 1 / robot.spec.command_hz
        if self.simulated:
            assert robot.clock.now() == start
            assert_same(robot.observe(), before)

    def test_what_is_sent_is_an_action_within_bounds(self, robot: Robot) -> None:
        size = robot.spec.action_size
        low, high = robot.spec.bounds()
        far = [np.full(size, sign * 1e6, np.float32) for sign in (1, -1)] if self.simulated else []
        for action in [None, *far, None]:
            sent = robot.command(Command(action, "operator"))
            assert sent.shape == (size,)
            assert np.isfinite(sent).all()
            assert ((low <= sent) & (sent <= high)).all(), (
                f"{sent} is sent for {action}, outside the bounds"
            )
            wait(robot, 1)

    def test_commands_keep_no_arrays_of_others(self, robot: Robot) -> None:
        wanted = robot.command(HOLD).copy()
        sent = robot.command(Command(wanted, "operator") if self.simulated else HOLD)
        before = sent.copy()
        wanted += np.nan
        sent += np.nan
        np.testing.assert_allclose(robot.command(HOLD), before, atol=self.tolerance)

    def test_holding_does_not_jump(self, robot: Robot) -> None:
        measured = robot.observe().data
        held = robot.command(HOLD).copy()
        low, high = robot.spec.bounds()
        for key, part in robot.spec.slices().items():
            measured_by = robot.spec.actions[key].measured_by
            if measured_by:
                there = np.clip(measured[measured_by].ravel(), low[part], high[part])
                np.testing.assert_allclose(held[part], there, atol=self.tolerance)
        wait(robot, 1)
        np.testing.assert_allclose(robot.command(HOLD), held, atol=self.tolerance)

    def test_holding_stands_still(self, robot: Robot) -> None:
        if self.simulated:
            push(robot, 20)
        relative = robot.spec.relative_mask()
        low, high = robot.spec.bounds()
        nothing = np.clip(0.0, low, high)[relative]
        measuring = {field.measured_by for field in robot.spec.actions.values()} - {""}
        places = []
        for _ in range(2):  # in the first second it may settle
            for _ in range(round(min(1.0, self.seconds) * robot.spec.command_hz)):
                np.testing.assert_array_equal(
                    robot.command(HOLD)[relative], nothing, "holding sends a difference"
                )
                wait(robot, 1)
            places.append(robot.observe().data)
        for key in measuring | set(self.still):
            away = np.abs(places[1][key].astype(float) - places[0][key]).max()
            assert away <= self.drift, f"{key!r} went {away} while the robot was told to hold"

    def test_waiting_reaches_its_deadline(self, robot: Robot) -> None:
        clock = robot.clock
        times = [clock.now()]
        for _ in range(5):
            deadline = times[-1] + 1 / robot.spec.command_hz
            clock.wait_until(deadline)
            times.append(clock.now())
            assert times[-1] >= deadline - 1e-6
            assert robot.observe().time >= deadline - 1e-6
        clock.wait_until(times[0])
        assert clock.now() >= times[-1], "the clock goes back"
        assert not self.simulated or clock.now() == times[-1], "waiting for the past takes time"

    def test_an_episode_ends_and_another_begins(self, robot: Robot) -> None:
        start = robot.clock.now()
        episode = run_episode(robot, Holder(), seed=0, max_seconds=self.seconds)
        steps = [step for step in episode if step]
        assert robot.outcome() or robot.clock.now() - start >= self.seconds - 1e-6
        assert isinstance(robot.outcome(), Outcome | None)
        gaps = np.diff([step.obs.time for step in steps])
        assert (gaps > 0).all(), "two ticks see the same time"
        assert not self.simulated or np.allclose(gaps, 1 / robot.spec.command_hz)
        robot.reset(1)
        assert robot.outcome() is None, "an episode begins with its outcome known"

    def test_closing_twice_is_allowed(self) -> None:
        robot = self.make_robot()
        robot.reset(0)
        robot.close()
        robot.close()


def wait(robot: Robot, ticks: int) -> None:
    """Let time pass."""
    for _ in range(ticks):
        robot.clock.wait_until(robot.clock.now() + 1 / robot.spec.command_hz)


def push(robot: Robot, ticks: int) -> None:
    """Move: differences in full, targets a tenth of their range."""
    held = robot.command(HOLD)
    low, high = robot.spec.bounds()
    bounded = np.isfinite(high - low)
    far = held + np.where(bounded, 0.1 * (high - low), 0.1)
    full = np.where(bounded, high, 1.0)
    for _ in range(ticks):
        robot.command(
            Command(np.where(robot.spec.relative_mask(), full, far).astype(np.float32), "operator")
        )
        wait(robot, 1)


def assert_same(a: Obs, b: Obs, keys: list[str] | None = None) -> None:
    """The same numbers, whatever the time."""
    for key in a.data if keys is None else keys:
        np.testing.assert_array_equal(a.data[key], b.data[key], err_msg=f"observation {key!r}")
