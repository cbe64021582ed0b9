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
LOST = 1.5  # times the largest distance of setpoint and measurement, beyond which the robot does not follow


class Plausibility:
    """Judges what is measured of each action element (A,) by the limits: where none is given, anything is plausible.

    A robot may move as fast as its velocity limit, and at any moment close the distance `limits.max_following_error` to its setpoint.
    """

    def __init__(self, spec: Spec, limits: Limits) -> None:
        self._spec, self._limits = spec, limits
        self._angle, self._names = spec.angle_mask(), spec.element_names()
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
        return self._told(
            distance > LOST * self._limits.max_following_error,
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
        moved = [np.abs(self._difference(newest, before)) for _, before in self._recent]
        return not any((distance > self._still).any() for distance in moved)

    @property
    def settled(self) -> bool:
        """Whether it was seen for long enough to know, and has stood still."""
        seen = self._recent[-1][0] - self._recent[0][0] if self._recent else 0.0
        return self.still and seen >= STILL_SECONDS - 1e-6

    def _outside(self, measured: np.ndarray) -> str:
        low, high, reach = self._limits.low, self._limits.high, self._limits.max_following_error
        with np.errstate(invalid="ignore"):
            outside = (measured < low - reach) | (measured > high + reach)
        return self._told(
            outside & np.isfinite(reach) & ~self._angle, measured, "lies outside its limits"
        )

    def _jumped(self, measured: np.ndarray, stamps: np.ndarray) -> str:
        if self._stamps is None or not self._recent:
            return ""
        passed = np.maximum(stamps - self._stamps, 1 / self._spec.command_hz)
        distance = np.abs(self._difference(measured, self._recent[-1][1]))
        allowed = self._limits.velocity * passed + self._limits.max_following_error
        return self._told(distance > allowed, measured, "jumped by {}", distance)

    def _told(
        self, wrong: np.ndarray, measured: np.ndarray, what: str, by: np.ndarray | None = None
    ) -> str:
        if not wrong.any():
            return ""
        k = int(np.argmax(wrong))
        return f"{self._names[k]} is measured at {measured[k]:.4g}, which " + what.format(
            "" if by is None else f"{by[k]:.4g}"
        )

    def _stamped(self, obs: Obs) -> np.ndarray:
        """Return when each action element was measured (A,) [s]."""
        return np.concatenate(
            [
                np.full(f.size, obs.stamps.get(f.measured_by, obs.time))
                for f in self._spec.actions.values()
            ]
        )

    def _difference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return shorter_way(a - b, self._angle)
