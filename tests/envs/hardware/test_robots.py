from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import DISPLACED, Displaced, Rail

from fewstep.envs import Command, Obs, Outcome, Robot, WallClock
from fewstep.envs.sim.gym_robot import GymRobot
from fewstep.envs.sim.registry import make_robot
from fewstep.envs.testing import RobotContract


class TestRail(RobotContract):
    def make_robot(self) -> Robot:
        return Rail()


class TestDriverInRealTime(RobotContract):
    simulated = False
    seconds = 0.2

    def make_robot(self) -> Robot:
        return Rail(WallClock())


class TestPoint(RobotContract):
    def make_robot(self) -> Robot:
        return make_robot("fakes:Point-v0")


class TestPendulum(RobotContract):
    def make_robot(self) -> Robot:
        return make_robot("Pendulum-v1")


class TestPickPlace(RobotContract):
    def make_robot(self) -> Robot:
        return make_robot("pickplace")


class TestPushT(RobotContract):
    def make_robot(self) -> Robot:
        pytest.importorskip("gym_pusht")
        return make_robot("pusht")


class TestPushTFromPixels(RobotContract):
    def make_robot(self) -> Robot:
        pytest.importorskip("gym_pusht")
        return make_robot("pusht-pixels")


class TestPushTInMujoco(RobotContract):
    def make_robot(self) -> Robot:
        return make_robot("pusht-mujoco")


class TestHandThatIsDisplaced(RobotContract):
    still = ("hand",)

    def make_robot(self) -> Robot:
        return GymRobot(Displaced(), spec=DISPLACED, seconds=10)


class TestMetaWorld(RobotContract):
    still = ("hand",)

    def make_robot(self) -> Robot:
        pytest.importorskip("metaworld")
        return make_robot("metaworld/push")


class Jumpy(Rail):
    def command(self, command: Command) -> np.ndarray:
        return super().command(Command(np.ones(1), "") if command.action is None else command)


class Blocking(Rail):
    def command(self, command: Command) -> np.ndarray:
        self.clock.wait_until(self.clock.now() + 0.05)
        return super().command(command)


class Unlimited(Rail):
    def command(self, command: Command) -> np.ndarray:
        sent = super().command(command)
        return sent if command.action is None else command.action


class Keeping(Rail):
    def command(self, command: Command) -> np.ndarray:
        super().command(command)
        return self.target


class Restless(Rail):
    def observe(self) -> Obs:
        self.target = self.place = self.place + np.float32(0.001)
        return super().observe()


class Reusing(Rail):
    buffer = np.zeros(1, np.float32)

    def observe(self) -> Obs:
        obs = super().observe()
        self.buffer[:] = obs.data["position"]
        return replace(obs, data={"position": self.buffer})


class Double(Rail):
    def observe(self) -> Obs:
        obs = super().observe()
        return replace(obs, data={"position": obs.data["position"].astype(float)})


class Prophetic(Rail):
    def observe(self) -> Obs:
        return replace(super().observe(), stamps={"position": self.clock.now() + 1})


class Seedless(Rail):
    def reset(self, seed: int | None = None) -> None:
        super().reset(None)


class Creeping(Rail):
    def command(self, command: Command) -> np.ndarray:
        self.target = self.target + np.float32(0.01)
        return super().command(command)


class Repeating(GymRobot):
    """Repeats the last action, differences too."""

    def __init__(self) -> None:
        super().__init__(Displaced(), spec=DISPLACED, seconds=10)
        self._relative[:] = False


class Unmarked(GymRobot):
    """Its Spec does not say that actions are differences."""

    def __init__(self) -> None:
        super().__init__(Displaced(), seconds=10)


class Judged(Rail):
    def outcome(self) -> Outcome | None:
        return Outcome(False)


@pytest.mark.parametrize(
    ("faulty", "test"),
    [
        (Jumpy, "holding_does_not_jump"),
        (Blocking, "a_command_lets_no_time_pass"),
        (Unlimited, "what_is_sent_is_an_action_within_bounds"),
        (Keeping, "commands_keep_no_arrays_of_others"),
        (Restless, "observing_twice_changes_nothing"),
        (Reusing, "an_observation_stays_as_it_was"),
        (Double, "observations_are_what_the_spec_says"),
        (Prophetic, "observations_are_what_the_spec_says"),
        (Seedless, "the_seed_decides_the_start"),
        (Judged, "an_episode_ends_and_another_begins"),
        (Creeping, "holding_stands_still"),
        (Repeating, "holding_stands_still"),
        (Unmarked, "holding_stands_still"),
    ],
)
def test_the_contract_finds_faults(faulty: Any, test: str) -> None:
    contract: Any = RobotContract()
    contract.make_robot = faulty
    contract.still = ("hand",) if issubclass(faulty, GymRobot) else ()
    robot = faulty()
    robot.reset(0)
    with pytest.raises(AssertionError):
        getattr(contract, f"test_{test}")(robot)
