"""Live: a simulated robot on the wall clock, which moves as a real one would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..clock import Clock, WallClock
from ..robot import Command, Obs, Outcome

if TYPE_CHECKING:
    from .gym_robot import GymRobot


class Live:
    """A GymRobot that lives in real time: its simulation keeps up with the clock by itself."""

    def __init__(self, robot: GymRobot, clock: Clock | None = None) -> None:
        self.robot = robot
        self.spec = robot.spec
        self.name = robot.name
        self.clock = clock or WallClock()
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Begin at a state drawn by `seed`; its time begins now."""
        self.robot.reset(seed)
        self._start = self.clock.now()
        self._steps = 0

    def observe(self) -> Obs:
        """Return the state of the simulation now, stamped with the moment of its last step."""
        due = int((self.clock.now() - self._start) * self.spec.command_hz + 1e-6)
        while self._steps < due:
            self.robot.advance()
            self._steps += 1
        time = self._start + self._steps / self.spec.command_hz
        data = self.robot.observe().data
        return Obs(self.clock.now(), data, dict.fromkeys(data, time))

    def command(self, command: Command) -> np.ndarray:
        """Latch an action for the steps to come."""
        return self.robot.command(command)

    def outcome(self) -> Outcome | None:
        """Return what the environment says."""
        return self.robot.outcome()

    def close(self) -> None:
        """Close the environment."""
        self.robot.close()
