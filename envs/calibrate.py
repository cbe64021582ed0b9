"""Latency calibration: a small known motion, and how much later it is seen."""

from __future__ import annotations

import numpy as np

from .errors import RobotError
from .robot import Command, Obs
from .spec import Spec

SWEEP = (0.4, 2.5)  # Hz, from the first second to the last
SECONDS = 8.0
SIZE = 0.01  # of the range of an action element
GRID = 0.001  # s
LONGEST = 1.0  # s of delay that are looked for
LIKE = 0.8  # correlation below which nothing has been followed


class Sweep:
    """Swings about the pose where it begins, slowly at first; on its own no limit is near."""

    def __init__(self, spec: Spec) -> None:
        low, high = spec.bounds()
        span = np.where(np.isfinite(high - low), high - low, 0.0)
        self._size = SIZE * np.where(spec.held(), 0.0, span)
        if not self._size.any():
            raise RobotError(
                "no action has bounds, so no size of a small motion is known: calibrate needs low and high"
            )

    def reset(self, seed: int | None = None) -> None:
        """Begin again."""
        self._start: tuple[float, np.ndarray] | None = None

    def act(self, obs: Obs) -> Command | None:
        """Where to swing to now; the first command holds, and what is sent then is the middle."""
        if self._start is None:
            self._began = obs.time
            return Command(None, "calibration")
        t, (low, high) = obs.time - self._began, SWEEP
        swing = np.sin(2 * np.pi * (low * t + (high - low) * t**2 / (2 * SECONDS))) * min(1.0, t)
        return Command(self._start[1] + swing * self._size, "calibration")

    def sent(self, action: np.ndarray) -> None:
        """Hear where the robot was sent."""
        self._start = self._start or (self._began, np.array(action, float))


def delay(time: np.ndarray, sent: np.ndarray, seen: np.ndarray, measured: np.ndarray) -> float:
    """How much later [s] `measured` (T, A) shows what was `sent` (T, A) at `time` (T,); seen (T,): its time stamps.

    By cross-correlation of the element that moved most, and so to half a tick: between two samples nothing is known.
    RobotError where nothing followed.
    """
    if len(time) < 2 or time[-1] - time[0] < SECONDS / 2:
        raise RobotError(f"the motion of {SECONDS:g} s was broken off: no delay can be told")
    measured = np.nan_to_num(measured)  # what nothing measures has not moved
    moved = measured.std(0) * sent.std(0)
    k = int(moved.argmax())
    grid = np.arange(time[0], time[-1], GRID)
    held = sent[np.searchsorted(time, grid, side="right") - 1, k]  # a command holds until the next one
    shown = np.interp(grid, seen, measured[:, k])
    n = int(min(LONGEST / GRID, len(grid) // 2))
    like = [_correlation(held[: len(held) - n], shown[j : len(shown) - n + j]) for j in range(n)]
    j = int(np.argmax(like))
    if not moved[k] or like[j] < LIKE:
        raise RobotError("what is measured does not follow what is sent: no delay can be told")
    a, b, c = (like[i] for i in (max(j - 1, 0), j, min(j + 1, n - 1)))
    bend = a - 2 * b + c
    return (j + (0.5 * (a - c) / bend if bend < 0 and 0 < j < n - 1 else 0.0)) * GRID


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size > 0 else 0.0
