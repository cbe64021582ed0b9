"""Drive a robot of your own: five methods, a Spec and a clock.

The driver here stands for yours: two joints that follow what they are sent. With `make_robot`
beside you, `fewstep run policy=run robot=own_robot:make_robot` lets a policy move it, with limits,
watchdogs and a log (the policy of own_demonstrations.py fits), and the tests in
`fewstep.envs.testing` say whether it keeps what the control loop relies on. Run `python
docs/examples/own_robot.py`; it takes 5 s.
"""

import time

import numpy as np

from fewstep.envs import Command, Field, Obs, Outcome, Spec, WallClock, run_episode
from fewstep.envs.safety.limits import Limits
from fewstep.envs.safety.safe_robot import SafeRobot
from fewstep.envs.safety.states import State

SPEC = Spec(
    observations={
        "joints": Field((2,), "rad", names=("shoulder", "elbow")),
        "cup": Field((2,), "m"),
    },
    actions={
        "joints": Field(
            (2,),
            "rad",
            low=(-2.0, -2.0),
            high=(2.0, 2.0),
            velocity=(2.0, 2.0),
            acceleration=(10.0, 10.0),
            measured_by="joints",
        )
    },
    policy_hz=20,
    command_hz=100,
)


class Driver:
    """Stand-in for the driver of an arm: joints close in on their targets within some 50 ms."""

    def __init__(self) -> None:
        self.joints = np.zeros(2)
        self.target = np.zeros(2)
        self.updated = time.monotonic()

    def read_joints(self) -> np.ndarray:
        """Return the joints now [rad]."""
        now = time.monotonic()
        self.joints += (1 - np.exp(-(now - self.updated) / 0.05)) * (self.target - self.joints)
        self.updated = now
        return self.joints.copy()

    def send_joints(self, target: np.ndarray) -> None:
        """Set the joints' targets [rad]."""
        self.read_joints()
        self.target = np.array(target)


class MyRobot:
    """An arm that a person resets and judges."""

    def __init__(self, driver: Driver) -> None:
        self.spec = SPEC
        self.clock = WallClock()
        self.driver = driver

    def reset(self, seed: int | None = None) -> None:
        """Leave the arm where it is; a home pose may be driven to here, no limit applies to it."""

    def observe(self) -> Obs:
        """Return the newest measurements and when each was taken [s, this robot's clock]."""
        now = self.clock.now()
        data = {
            "joints": self.driver.read_joints().astype(np.float32),
            "cup": np.array([0.5, -0.3], np.float32),
        }
        return Obs(now, data, stamps={"joints": now, "cup": now})

    def command(self, command: Command) -> np.ndarray:
        """Send an action (2,) [rad], or hold where there is none; return what was sent."""
        if command.action is not None:
            self.driver.send_joints(command.action)
        return self.driver.target.copy()

    def outcome(self) -> Outcome | None:
        """Say nothing: a person judges."""
        return None

    def close(self) -> None:
        """Let go of the driver."""


def make_robot() -> MyRobot:
    """Return the robot, as `robot=own_robot:make_robot` asks for it."""
    return MyRobot(Driver())


class Wave:
    """An actor that asks for more than the limits allow: a step of 3 rad, back and forth."""

    def reset(self, seed: int | None = None) -> None:
        """Begin at once."""

    def act(self, obs: Obs) -> Command:
        """Return the command of this tick."""
        side = 1.5 if obs.time % 2 < 1 else -1.5
        return Command(np.full(2, side), "expert")

    def sent(self, action: np.ndarray) -> None:
        """Learn nothing from what was sent."""


def main(seconds: float = 4.0) -> None:
    """Wave within the limits, and print how fast the setpoint really went."""
    robot = SafeRobot(make_robot(), Limits.of(SPEC))
    setpoints = []
    try:
        robot.go(State.HOLD)
        robot.reset()
        robot.go(State.ACTIVE)
        for step in run_episode(robot, Wave(), max_seconds=seconds):
            if step is not None:
                setpoints.append(step.sent)
    finally:
        robot.close()
    fastest = np.abs(np.diff(setpoints, axis=0)).max() * SPEC.command_hz
    print(f"{len(setpoints)} ticks, {np.ptp(setpoints, axis=0).max():.2f} rad of travel")
    print(f"fastest setpoint {fastest:.2f} rad/s, allowed are 2.00")


if __name__ == "__main__":
    main()
