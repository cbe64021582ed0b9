"""Replay: recorded actions as an Actor, the first thing to try on a new arm."""

from __future__ import annotations

import numpy as np

from ..chunk import Chunk
from ..robot import Command, Obs
from ..spec import Spec

NEAR = 1e-3  # of the largest recorded difference: so near the first action the recording begins


class Replay:
    """Goes to the first of the actions (T, A), then follows them at the policy's rate.

    It holds at the end. Where all actions are relative there is no pose to go to: it follows them
    from where the robot is.
    """

    def __init__(self, actions: np.ndarray, spec: Spec) -> None:
        self._actions = np.asarray(actions, float)
        self._spec = spec
        self._targets = ~spec.relative_mask()
        self._span = 0.0  # the largest recorded difference
        if len(actions):
            self._span = np.ptp(self._actions[:, self._targets], axis=0).max(initial=0.0)

    @property
    def seconds(self) -> float:
        """How long the recording takes [s]."""
        return len(self._actions) / self._spec.policy_hz

    def reset(self, seed: int | None = None) -> None:
        """Begin again."""
        self._chunk: Chunk | None = None
        self._there = not self._targets.any()

    def act(self, obs: Obs) -> Command:
        """Return the recorded action of now, or the first until the robot was sent there."""
        if self._there and self._chunk is None:
            self._chunk = Chunk(0, obs.time, 1 / self._spec.policy_hz, self._actions)
        if self._chunk is None:
            first_targets = np.where(self._targets, self._actions[0], 0.0)
            return Command(first_targets, "replay")
        return Command(self._chunk.at(obs.time, self._spec), "replay")

    def is_over(self, now: float) -> bool:
        """Return whether the last action has been followed for its time; now [s, robot's clock]."""
        return self._chunk is not None and now >= self._chunk.time + self.seconds

    def sent(self, action: np.ndarray) -> None:
        """Take note of where the robot was sent."""
        away = np.abs(action - self._actions[0])[self._targets]
        if away.max(initial=0.0) <= NEAR * self._span + 1e-6:
            self._there = True
