"""A video file in place of a camera, played in real time and over again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import RobotError, refusing
from .camera_config import CameraConfig


class VideoFile:
    """A file of video that PyAV can read, from its beginning again where it ends."""

    def __init__(self, config: CameraConfig) -> None:
        import av

        self._source = config.source
        self._hz = config.hz
        with refusing(RobotError, f"camera {config.source} is no video file"):
            self._container: Any = av.open(config.source)
            if not self._container.streams.video:
                raise RobotError(f"camera {config.source}: the file has no video")
        self._frames = self._play()

    def read(self) -> tuple[float, np.ndarray]:
        """Wait until the next picture is due."""
        with refusing(RobotError, f"camera {self._source}"):
            due, picture = next(self._frames)
        time.sleep(max(0.0, due - time.monotonic()))
        return time.monotonic(), picture

    def _play(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield pictures with the times at which they are due [s, monotonic clock]."""
        period = 1 / float(self._container.streams.video[0].average_rate or self._hz)
        due = -math.inf
        while True:
            start = math.nan  # of this time through the file
            for frame in self._container.decode(video=0):
                picture = frame.to_ndarray(format="rgb24")
                if math.isnan(start):
                    start = max(due + period, time.monotonic()) - (frame.time or 0.0)
                due = start + (frame.time or 0.0)
                yield due, picture
            if math.isnan(start):
                raise RobotError("the file has no pictures")
            self._container.seek(0)

    def close(self) -> None:
        """Close the file."""
        self._container.close()
