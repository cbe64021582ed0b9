"""Plausibility: what a robot cannot have measured, and whether it stands still."""

from __future__ import annotations

from collections import deque

import numpy as np

from ..angles import shorter_way
from ..robot import Obs
from ..spec import Spec
from .limits import Limits

STILL_SECONDS = 0.1  # over which a robot is watched before it counts as standing still
STILL_TRAVEL = 0.01  # s of travel at full velocity that it may go meanwhile
LOST_SHARE = 1.5  # of max_following_error, beyond which the robot does not follow


class Plausibility:
    """Judges what is measured of each action element (A,) by the limits.

    A robot may move as fast as its velocity limit, and at any moment close the distance
    `limits.max_following_error` to its setpoint. Where no limit is given, anything is plausible.
    """

    def __init__(self, spec: Spec, limits: Limits) -> None:
        self._spec = spec
        self._limits = limits
        self._angle = spec.angle_mask()
        self._names = spec.element_names()
        self._still = np.where(np.isfinite(limits.velocity), STILL_TRAVEL * limits.velocity, np.inf)
        self.forget()

    def forget(self) -> None:
        """Begin anew: something else has moved the robot."""
        self._stamps: np.ndarray | None = None
        self._recent = deque[tuple[float, np.ndarray]]()

    def look(self, obs: Obs, measured: np.ndarray) -> str:
        """Return why this cannot be, naming the element; "" where it can."""
        stamps = self._stamped(obs)
        trouble = self._outside(measured) or self._jumped(measured, stamps)
        self._stamps = stamps
        self._recent.append((obs.time, measured))
        while len(self._recent) > 2 and self._recent[1][0] <= obs.time - STILL_SECONDS:
            self._recent.popleft()
        return trouble

    def strays(self, measured: np.ndarray, setpoint: np.ndarray) -> str:
        """Return why the robot does not follow its setpoint; "" where it does."""
        distance = np.abs(self._difference(measured, setpoint))
        return self._describe(
            distance > LOST_SHARE * self._limits.max_following_error,
            measured,
            "is {} away from where it was sent",
            distance,
        )

    @property
    def still(self) -> bool:
        """Whether the robot has stood still lately, as far as it was seen."""
        if not self._recent:
            return True
        newest = self._recent[-1][1]
        for _, before in self._recent:
            if (np.abs(self._difference(newest, before)) > self._still).any():
                return False
        return True

    @property
    def settled(self) -> bool:
        """Whether it was seen for long enough to know, and has stood still."""
        seen = self._recent[-1][0] - self._recent[0][0] if self._recent else 0.0
        return self.still and seen >= STILL_SECONDS - 1e-6

    def _outside(self, measured: np.ndarray) -> str:
        reach = self._limits.max_following_error
        with np.errstate(invalid="ignore"):
            below = measured < self._limits.low - reach
            above = measured > self._limits.high + reach
        outside = (below | above) & np.isfinite(reach) & ~self._angle
        return self._describe(outside, measured, "lies outside its limits")

    def _jumped(self, measured: np.ndarray, stamps: np.ndarray) -> str:
        if self._stamps is None or not self._recent:
            return ""
        passed = np.maximum(stamps - self._stamps, 1 / self._spec.command_hz)
        distance = np.abs(self._difference(measured, self._recent[-1][1]))
        allowed = self._limits.velocity * passed + self._limits.max_following_error
        return self._describe(distance > allowed, measured, "jumped by {}", distance)

    def _describe(
        self, wrong: np.ndarray, measured: np.ndarray, what: str, distance: np.ndarray | None = None
    ) -> str:
        """Return what is wrong (A,) with the first such element; "" where there is none."""
        if not wrong.any():
            return ""
        index = int(np.argmax(wrong))
        if distance is not None:
            what = what.format(f"{distance[index]:.4g}")
        return f"{self._names[index]} is measured at {measured[index]:.4g}, which {what}"

    def _stamped(self, obs: Obs) -> np.ndarray:
        """Return when each action element was measured (A,) [s]."""
        stamps = []
        for field in self._spec.actions.values():
            stamps.append(np.full(field.size, obs.stamps.get(field.measured_by, obs.time)))
        return np.concatenate(stamps)

    def _difference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return shorter_way(a - b, self._angle)
