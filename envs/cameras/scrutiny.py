"""What is wrong with a camera's pictures: black, frozen, too few, of another size."""

from __future__ import annotations

import math
import time
from collections import deque

import numpy as np

from .camera_config import CameraConfig

LOOKED_AT = 4  # of every so many pixels each way one is looked at for light
BLACK = 24  # a picture without a value above it shows nothing
AHEAD_SECONDS = 0.05  # that a stamp may lie in the future
BLACK_SECONDS = 0.5
FROZEN_SECONDS = 1.0  # without a change: a sensor's noise alone changes pictures
RATE_SECONDS = 1.0  # over which the rate is measured
SLOW_SHARE = 0.7  # of its rate, below which a camera is slow


class Scrutiny:
    """Looks at the pictures of one camera, one after the other.

    usable: whether the last one can be looked at, whatever is wrong with it.
    """

    def __init__(self, config: CameraConfig) -> None:
        self._config = config
        self.usable = False
        self._stamps = deque[float]()
        self._last: np.ndarray | None = None
        self._changed = math.nan  # when the picture changed last [s]
        self._lit = math.nan  # when it showed something last [s]

    def look(self, stamp: float, picture: np.ndarray) -> str:
        """Return what is wrong with the pictures, up to this one; "" for nothing."""
        height, width = self._config.size
        ahead = stamp - time.monotonic()
        self.usable = picture.shape == (height, width, 3) and ahead <= AHEAD_SECONDS
        if picture.shape[:2] != (height, width):
            return (
                f"gives pictures of {picture.shape[1]}x{picture.shape[0]} px, not {width}x{height}"
            )
        if ahead > AHEAD_SECONDS:
            return f"stamps its pictures {ahead:.3g} s ahead of time.monotonic()"
        return self._slow(stamp) or self._empty(stamp, picture)

    def _slow(self, stamp: float) -> str:
        self._stamps.append(stamp)
        while stamp - self._stamps[0] > RATE_SECONDS:
            self._stamps.popleft()
        if len(self._stamps) < 2 or stamp - self._stamps[0] < RATE_SECONDS / 2:
            return ""
        rate = (len(self._stamps) - 1) / (stamp - self._stamps[0])
        if rate >= SLOW_SHARE * self._config.hz:
            return ""
        return f"gives {rate:.1f} pictures a second, not {self._config.hz:g}"

    def _empty(self, stamp: float, picture: np.ndarray) -> str:
        if self._last is None or not np.array_equal(picture, self._last):
            self._changed = stamp
        if self._last is None or picture[::LOOKED_AT, ::LOOKED_AT].max() > BLACK:
            self._lit = stamp
        self._last = picture.copy()  # a driver may fill its arrays again
        if stamp - self._lit > BLACK_SECONDS:
            return "is black"
        if stamp - self._changed > FROZEN_SECONDS:
            return f"is frozen: its picture has not changed for {stamp - self._changed:.1f} s"
        return ""
