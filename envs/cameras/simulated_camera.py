"""A camera that looks at nothing: a drawn picture in which one can read when it was taken."""

from __future__ import annotations

import time

import numpy as np

from .camera_config import CameraConfig

PERIOD = 4.0  # [s] in which the bar crosses the picture once
BAR = 8  # px


class SimulatedCamera:
    """Gives a picture `hz` times a second: a bar that goes to the right, over colours."""

    def __init__(self, config: CameraConfig) -> None:
        self._hz = config.hz
        height, width = config.size
        self._ground = np.zeros((height, width, 3), np.uint8)
        self._ground[..., 0] = np.linspace(32, 160, width)
        self._ground[..., 1] = np.linspace(32, 160, height)[:, None]
        self._ground[..., 2] = 96
        self._due = time.monotonic()

    def read(self) -> tuple[float, np.ndarray]:
        """Wait for the next period, and draw the picture of that moment."""
        now = time.monotonic()
        self._due = max(self._due + 1 / self._hz, now)
        time.sleep(self._due - now)
        stamp = time.monotonic()
        picture = self._ground.copy()
        left = int(stamp / PERIOD % 1 * picture.shape[1])
        picture[:, left : left + BAR] = 255
        return stamp, picture

    def close(self) -> None:
        """Do nothing: there is nothing to let go."""


def taken_at(picture: np.ndarray, near: float) -> float:
    """Return when a picture was taken [s], as its bar says, to a column; near: within 2 s of it."""
    left = int(np.argmax((picture == 255).all(axis=(0, 2))))
    phase = left / picture.shape[1] * PERIOD
    return near + (phase - near + PERIOD / 2) % PERIOD - PERIOD / 2
