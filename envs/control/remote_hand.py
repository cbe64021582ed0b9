"""A person's hand from the process that reads its device, and the Actor at the robot's end."""

from __future__ import annotations

import time

import numpy as np

from ..angles import shorter_way
from ..mailbox import Mailbox
from ..robot import Command, Obs
from ..safety.limits import Limits
from ..spec import Spec
from ..teleop.drive import NOTHING, Drive, Hand, Tool

STALE_SECONDS = 0.25  # a hand of which nothing was heard for longer is gone
APPROACH = 0.2  # of full velocity, with which a robot comes to its leader
ENGAGED_SECONDS = 0.05  # of travel at full velocity: so near to its leader, it follows


def hand_type(action_size: int) -> np.dtype:
    """Return the record of a hand: its movement, or a leader's pose (A,).

    takes: whether the person wants the robot, where a policy has it otherwise.
    """
    return np.dtype(
        [
            ("time", "f8"),  # [s] of the monotonic clock, when it was read
            ("move", "f8", (len(NOTHING),)),
            ("pose", "f8", (action_size,)),
            ("takes", "u1"),
        ]
    )


class HandSender:
    """Tells what a hand does now."""

    def __init__(self, spec: Spec, fd: int) -> None:
        self._mailbox = Mailbox(hand_type(spec.action_size), fd)
        self._record = np.zeros((), self._mailbox.dtype)

    def send(
        self, move: np.ndarray = NOTHING, pose: np.ndarray | None = None, takes: bool = False
    ) -> None:
        """Replace what was told before. move (7,), as in Hand; pose (A,): where a leader is."""
        self._record["time"] = time.monotonic()
        self._record["move"] = move
        self._record["pose"] = np.nan if pose is None else pose
        self._record["takes"] = takes
        self._mailbox.write(self._record)

    def close(self) -> None:
        """Let go."""
        self._mailbox.close()


class RemoteHand:
    """What was told last; its age tells whether anybody is there."""

    def __init__(self, spec: Spec, fd: int) -> None:
        self._mailbox = Mailbox(hand_type(spec.action_size), fd)
        self._record: np.ndarray | None = None

    def newest(self) -> np.ndarray | None:
        """Return the newest record of a hand; None where nothing was heard of it lately."""
        found = self._mailbox.read()
        if found is not None:
            self._record = found
        if self._record is None:
            return None
        age = time.monotonic() - self._record["time"]
        return None if age > STALE_SECONDS else self._record

    def takes(self, obs: Obs) -> bool:
        """Return whether the person wants the robot; who is gone goes on wanting what they did."""
        self.newest()
        return self._record is not None and bool(self._record["takes"])


class RemoteDrive:
    """An Actor: a device that moves the robot, in another process."""

    def __init__(self, hand: RemoteHand, tool: Tool, spec: Spec) -> None:
        self._hand = hand
        self._move = NOTHING
        self._drive = Drive(self, tool, spec)
        self.reset = self._drive.reset
        self.sent = self._drive.sent

    def act(self, obs: Obs) -> Command:
        """Return where the hand leads; hold where it is gone."""
        record = self._hand.newest()
        self._move = NOTHING if record is None else np.array(record["move"])
        command = self._drive.act(obs)
        return Command(None, "operator") if record is None else command

    def read(self) -> Hand:
        """Return what the device does now, as a Device tells it."""
        return Hand(self._move)

    def close(self) -> None:
        """Nothing to let go of."""


class RemoteLeader:
    """An Actor: another robot, led by hand, in another process.

    The robot comes to it slowly, then follows it.
    """

    def __init__(self, hand: RemoteHand, spec: Spec, limits: Limits) -> None:
        self._hand = hand
        self._limits = limits
        self._angle = spec.angle_mask()
        self._step = APPROACH * limits.velocity / spec.command_hz
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Begin where the robot is."""
        self._at: np.ndarray | None = None
        self._following = False

    def act(self, obs: Obs) -> Command:
        """Return where the leader is, or a step of the way there; hold where it is gone."""
        record = self._hand.newest()
        if record is None or self._at is None or not np.isfinite(record["pose"]).all():
            return Command(None, "operator")
        away = shorter_way(record["pose"] - self._at, self._angle)
        bounded = np.isfinite(self._limits.velocity)
        near = np.abs(away) <= ENGAGED_SECONDS * self._limits.velocity
        if (near | ~bounded).all():
            self._following = True
        if self._following:
            return Command(np.array(record["pose"]), "operator")
        step = np.clip(away, -self._step, self._step)
        return Command(self._at + step, "approach")

    def sent(self, action: np.ndarray) -> None:
        """Take note of where the robot was sent."""
        self._at = np.array(action, float)
