"""Chunk: actions that a policy has planned, one of its periods apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .interpolation import after, interpolate
from .spec import Spec

EARLY = 1e-6  # share of a period by which an action may begin too early: times are rounded


@dataclass(frozen=True)
class Chunk:
    """Actions (H, A) in robot units; actions[k] belongs to time + k dt [s, robot's clock]."""

    episode: int
    time: float
    dt: float
    actions: np.ndarray

    def remaining(self, now: float) -> int:
        """Return how many moments, dt apart from `now` on, lie between actions that it has."""
        k, weight = self._place(now)
        return max(0, len(self.actions) - k - (weight > EARLY))

    def at(self, now: float, spec: Spec) -> np.ndarray | None:
        """The action (A,) of this moment, interpolated; None once the chunk is over."""
        k, weight = self._place(now)
        if k >= len(self.actions):
            return None
        last = k + 1 == len(self.actions)
        following = after(self.actions[k], spec) if last else self.actions[k + 1]
        return interpolate(spec, self.actions[k], following, weight)

    def following(self, now: float, spec: Spec) -> np.ndarray:
        """Return the actions (n, A) from this moment on, dt apart; none once the chunk is over."""
        k, weight = self._place(now)
        rest = self.actions[k:]
        if not len(rest):
            return rest
        return interpolate(spec, rest, np.vstack([rest[1:], after(rest[-1], spec)]), weight)

    def _place(self, now: float) -> tuple[int, float]:
        """Return the place of the last action up to `now`, and the share of the way to the next."""
        x = max(0.0, (now - self.time) / self.dt + EARLY)
        k = int(x)
        return k, max(0.0, x - k - EARLY)
