"""Teleoperation: what a person does with a device, as commands of a robot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..errors import RobotError, names
from ..robot import Command, Obs, Robot, measured_action
from ..spec import Spec

RANGE_SECONDS = 4.0  # in which full deflection crosses the range of an action element
LEASH = 0.15  # of the range: the target runs ahead of what is measured no farther
NOTHING = np.zeros(7)


@dataclass(frozen=True)
class Hand:
    """What a person does now.

    move (7,): x, y, z, roll, pitch, yaw and gripper (+1 opens), each from -1 to 1; words: what was pressed since the
    last time, of "start", "success", "failure", "discard", "quit"; "toggle" starts, or ends as a success.
    """

    move: np.ndarray = field(default_factory=lambda: NOTHING)
    words: tuple[str, ...] = ()


class Device(Protocol):
    """Something that a person holds."""

    def read(self) -> Hand:
        """At once, whatever happens."""
        ...

    def close(self) -> None:
        """Let go of it; may be called again."""
        ...


class Tool(Protocol):
    """How the movement of a hand moves the commanded action of one kind of robot."""

    def follow(
        self, action: np.ndarray, measured: np.ndarray, move: np.ndarray, dt: float
    ) -> np.ndarray:
        """The action (A,) that `dt` seconds of `move` (7,) lead to, from the last one; measured (A,) may hold NaN."""
        ...


class Axes:
    """A Tool for robots whose action elements are what a hand moves: its axes, in order, the gripper last.

    A discrete element goes to its low or high end at once; a relative one is the hand's share of its bound.
    """

    def __init__(self, spec: Spec) -> None:
        self._low, self._high = spec.bounds()
        if not np.isfinite(self._high - self._low).all():
            raise RobotError(
                "this robot's actions have no bounds, so nothing says how far a device moves them"
            )
        self._held, self._relative, n = spec.discrete_mask(), spec.relative_mask(), spec.action_size
        gripper = list(spec.actions)[-1] in ("gripper", "grip") or bool(self._held[-1])
        if n - gripper > len(NOTHING) - 1:
            raise RobotError(
                f"a device has {len(NOTHING)} axes, this robot {n} action elements: use a leader arm"
            )
        self._axis = np.array([*range(n - gripper), *[len(NOTHING) - 1] * gripper])
        self.speed = np.zeros(len(NOTHING))
        self.speed[self._axis] = (self._high - self._low) / RANGE_SECONDS

    def ground(self, place: np.ndarray) -> np.ndarray:
        """Places in a picture (n, 2) of just the ranges of the first two elements, low at the upper left."""
        return self._low[:2] + place * (self._high - self._low)[:2]

    def follow(
        self, action: np.ndarray, measured: np.ndarray, move: np.ndarray, dt: float
    ) -> np.ndarray:
        """Integrate, on a leash to what is measured."""
        span, m = self._high - self._low, move[self._axis]
        went = action + m * span * dt / RANGE_SECONDS
        known = np.isfinite(measured)
        near = np.clip(went, measured - LEASH * span, measured + LEASH * span)
        ends = np.where(m > 0, self._high, np.where(m < 0, self._low, action))
        targets = np.where(self._held, ends, np.where(known, near, went))
        differences = np.where(m > 0, m * self._high, -m * self._low)
        return np.clip(np.where(self._relative, differences, targets), self._low, self._high)


class Drive:
    """An Actor: a device in a person's hand. Where nothing is commanded yet it holds, and goes on from what is sent."""

    def __init__(self, device: Device, tool: Tool, spec: Spec) -> None:
        self._device, self._tool, self._spec = device, tool, spec
        self.hear: Callable[[str], None] = lambda word: None  # is told every word
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Go on from where the robot is."""
        self._action: np.ndarray | None = None
        self._time: float | None = None

    def act(self, obs: Obs) -> Command:
        """Where the hand leads."""
        hand, last = self._device.read(), self._time
        self._time = obs.time
        for word in hand.words:
            self.hear(word)
        if self._action is None or last is None:
            return Command(None, "operator")
        action = self._tool.follow(
            self._action, measured_action(self._spec, obs), hand.move, obs.time - last
        )
        return Command(action, "operator")

    def sent(self, action: np.ndarray) -> None:
        """Limits may have changed it."""
        self._action = np.array(action, float)


class Leader:
    """An Actor: another robot, led by hand, whose measured state is the command."""

    def __init__(self, leader: Robot, spec: Spec) -> None:
        self._leader, self._spec = leader, spec
        measured_action(spec, leader.observe())  # says at once what it lacks
        if differences := [key for key, f in spec.actions.items() if f.relative]:
            raise RobotError(
                f"actions {names(differences)} are differences, which no leader's pose can be"
            )

    def reset(self, seed: int | None = None) -> None:
        """A leader has no memory."""

    def act(self, obs: Obs) -> Command:
        """Where the leader is."""
        return Command(
            measured_action(self._spec, self._leader.observe()).astype(np.float32), "operator"
        )

    def sent(self, action: np.ndarray) -> None:
        """The leader feels nothing."""
