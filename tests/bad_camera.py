"""A bad camera: it does all that cameras do on bad days.

`source: bad_camera:BadCamera` with `tests` on the path. `trouble` is a text file that is read before
each picture: "", "black", "frozen", "slow", "small", "gone", "hangs", "dies", "raises", "none", "floats",
"future", "late" or "fast".
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import numpy as np

HZ = 30.0


class BadCamera:
    """Gives noise of 640x480 at 30 Hz, unless it is told otherwise."""

    def __init__(
        self,
        trouble: str,
        height: int = 48,
        width: int = 64,
        prints: str = "",
        starts: bool = False,
    ) -> None:
        print(prints, end="", flush=True)
        if starts:
            subprocess.Popen(["sleep", "987"])
        self._file = Path(trouble)
        self._size = (height, width, 3)
        self._rng = np.random.default_rng(0)
        self._picture = self._draw()
        if self._trouble() == "gone":
            raise OSError("no such device")

    def _trouble(self) -> str:
        return self._file.read_text() if self._file.exists() else ""

    def _draw(self) -> np.ndarray:
        return self._rng.integers(64, 192, self._size, np.uint8)

    def read(self) -> tuple[float, np.ndarray]:
        trouble = self._trouble()
        if trouble == "gone":
            raise OSError("the device was unplugged")
        if trouble == "dies":
            os._exit(3)
        if trouble == "raises":
            raise KeyError("the reason why")
        if trouble == "none":
            return None  # pyright: ignore
        if trouble == "floats":
            return time.monotonic(), self._draw().astype(float)
        if trouble == "late":
            time.sleep(1 / HZ)
            return time.monotonic() - 0.12, self._draw()
        if trouble == "future":
            return time.time(), self._draw()
        if trouble == "fast":
            time.sleep(0.1 / HZ)
            return time.monotonic(), self._draw()
        if trouble == "hangs":
            time.sleep(1000)
        time.sleep(3 / HZ if trouble == "slow" else 1 / HZ)
        if trouble == "black":
            return time.monotonic(), np.zeros(self._size, np.uint8)
        if trouble == "small":
            return time.monotonic(), self._draw()[::2, ::2]
        if trouble != "frozen":
            self._picture = self._draw()
        return time.monotonic(), self._picture

    def close(self) -> None:
        pass
