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
GRIPPER_AXIS = 6  # of the seven of a hand


@dataclass(frozen=True)
class Hand:
    """What a person does now.

    move (7,): x, y, z, roll, pitch, yaw and gripper (+1 opens), each from -1 to 1; events: what was
    pressed since the last time, of "start", "success", "failure", "discard", "quit"; "toggle"
    starts, or ends as a success.
    """

    move: np.ndarray = field(default_factory=lambda: NOTHING)
    events: tuple[str, ...] = ()


class Device(Protocol):
    """Something that a person holds."""

    def read(self) -> Hand:
        """Return what the person does now, without waiting."""
        ...

    def close(self) -> None:
        """Let go of it; may be called again."""
        ...


class Tool(Protocol):
    """How the movement of a hand moves the commanded action of one kind of robot."""

    def follow(
        self, action: np.ndarray, measured: np.ndarray, move: np.ndarray, dt: float
    ) -> np.ndarray:
        """Return the action (A,) that `dt` seconds of `move` (7,) lead to from the last `action`.

        measured (A,) may hold NaN.
        """
        ...


class Axes:
    """A Tool for robots whose action elements are what a hand moves: its axes, the gripper last.

    A discrete element goes to its low or high end at once; a relative one is the hand's share of
    its bound.
    """

    def __init__(self, spec: Spec) -> None:
        self._low, self._high = spec.bounds()
        if not np.isfinite(self._high - self._low).all():
            raise RobotError(
                "this robot's actions have no bounds, so nothing says how far a device moves them"
            )
        self._discrete = spec.discrete_mask()
        self._relative = spec.relative_mask()
        last_action = list(spec.actions)[-1]
        has_gripper = last_action in ("gripper", "grip") or bool(self._discrete[-1])
        axes = list(range(spec.action_size))
        if has_gripper:
            axes[-1] = GRIPPER_AXIS
        if len(axes) - has_gripper > GRIPPER_AXIS:
            raise RobotError(
                f"a device has {len(NOTHING)} axes, this robot {spec.action_size} action elements:"
                " use a leader arm"
            )
        self._axis = np.array(axes)  # of the hand, for each action element
        self.speed = np.zeros(len(NOTHING))
        self.speed[self._axis] = (self._high - self._low) / RANGE_SECONDS

    def ground(self, place: np.ndarray) -> np.ndarray:
        """Return the values (n, 2) of the first two elements at places (n, 2) of a picture.

        The picture shows just their ranges, low at the upper left.
        """
        return self._low[:2] + place * (self._high - self._low)[:2]

    def follow(
        self, action: np.ndarray, measured: np.ndarray, move: np.ndarray, dt: float
    ) -> np.ndarray:
        """Integrate, on a leash to what is measured."""
        span = self._high - self._low
        push = move[self._axis]
        target = action + push * span * dt / RANGE_SECONDS
        leashed = np.clip(target, measured - LEASH * span, measured + LEASH * span)
        target = np.where(np.isfinite(measured), leashed, target)
        low_or_same = np.where(push < 0, self._low, action)
        end = np.where(push > 0, self._high, low_or_same)
        target = np.where(self._discrete, end, target)
        difference = np.where(push > 0, push * self._high, -push * self._low)
        return np.clip(np.where(self._relative, difference, target), self._low, self._high)


class Drive:
    """An Actor: a device in a person's hand.

    Where nothing is commanded yet it holds, and goes on from what is sent.
    """

    def __init__(self, device: Device, tool: Tool, spec: Spec) -> None:
        self._device = device
        self._tool = tool
        self._spec = spec
        self.on_event: Callable[[str], None] = lambda event: None  # is given every event
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Go on from where the robot is."""
        self._action: np.ndarray | None = None
        self._time: float | None = None

    def act(self, obs: Obs) -> Command:
        """Return the action that the hand leads to."""
        hand = self._device.read()
        last_time = self._time
        self._time = obs.time
        for event in hand.events:
            self.on_event(event)
        if self._action is None or last_time is None:
            return Command(None, "operator")
        measured = measured_action(self._spec, obs)
        elapsed = obs.time - last_time
        return Command(self._tool.follow(self._action, measured, hand.move, elapsed), "operator")

    def sent(self, action: np.ndarray) -> None:
        """Go on from what was sent: limits may have changed it."""
        self._action = np.array(action, float)


class Leader:
    """An Actor: another robot, led by hand, whose measured state is the command."""

    def __init__(self, leader: Robot, spec: Spec) -> None:
        self._leader = leader
        self._spec = spec
        require_leader(leader, spec)
        differences = [key for key, field in spec.actions.items() if field.relative]
        if differences:
            raise RobotError(
                f"actions {names(differences)} are differences, which no leader's pose can be"
            )

    def reset(self, seed: int | None = None) -> None:
        """Do nothing: a leader has no memory."""

    def act(self, obs: Obs) -> Command:
        """Return where the leader is."""
        return Command(
            measured_action(self._spec, self._leader.observe()).astype(np.float32), "operator"
        )

    def sent(self, action: np.ndarray) -> None:
        """Do nothing: the leader feels nothing."""


def require_leader(leader: Robot, spec: Spec) -> None:
    """Raise RobotError where a leader's pose is no command for a robot of this Spec.

    Its joints are called as the robot's, in the same order, and are told in the same units.
    """
    pose = measured_action(spec, leader.observe())  # says at once what it lacks
    if pose.size != spec.action_size:
        raise RobotError(
            f"the leader's pose is {pose.size} numbers, and the robot takes {spec.action_size}"
        )
    for key, action in spec.actions.items():
        told = leader.spec.observations.get(action.measured_by)
        if told is None:
            continue
        for name in ("unit", "names"):
            ours, theirs = getattr(action, name), getattr(told, name)
            if ours and theirs and ours != theirs:
                raise RobotError(
                    f"the leader tells {action.measured_by!r} with {name} {theirs}, and the robot "
                    f"takes {key!r} with {ours}"
                )
