"""Frames of an episode with the pictures that were taken nearest to them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from ..robot import Obs, Step
from .rings import PictureRing

PATIENCE_SECONDS = 0.3  # for the picture after a frame, beyond which the one before it is taken
LATE_SECONDS = 0.15  # from its frame, beyond which a picture is of another moment
Frame = tuple[int, bool, Step]


class PictureFinder:
    """Puts pictures into frames, each the nearest that its camera has taken before or after.

    skews: how far they lay from their frames, by camera, since they were taken last [s].
    """

    def __init__(self, rings: Mapping[str, PictureRing]) -> None:
        self._rings = rings
        self._waiting = deque[Frame]()
        self._skews: dict[str, list[float]] = {name: [] for name in rings}

    @property
    def waits(self) -> bool:
        """Return whether a frame still waits for its pictures."""
        return bool(self._waiting)

    def take(self, read: Callable[[], Frame | None]) -> Iterator[Frame]:
        """Yield the frames whose pictures are there, the oldest first.

        read: returns the next frame without pictures, None while there is none.
        """
        self._waiting.extend(iter(read, None))
        while self._waiting and self._is_pictured(self._waiting[0][2].obs.time):
            episode, following, step = self._waiting.popleft()
            yield episode, following, replace(step, obs=self._with_pictures(step.obs))

    def _is_pictured(self, moment: float) -> bool:
        if time.monotonic() > moment + PATIENCE_SECONDS:
            return True
        return all(ring.newest() >= moment for ring in self._rings.values())

    def _with_pictures(self, obs: Obs) -> Obs:
        data = dict(obs.data)
        stamps = dict(obs.stamps)
        for name, ring in self._rings.items():
            found = ring.nearest(obs.time)
            if found is not None:
                stamps[name] = found[0]
                data[name] = found[1]
                self._skews[name].append(abs(found[0] - obs.time))
        return Obs(obs.time, data, stamps)

    def take_skews(self) -> str:
        """Return how far pictures lay from their frames, in words; "" where there were none."""
        told = []
        is_late = False
        for name, skews in self._skews.items():
            if skews:
                median, most = 1e3 * np.median(skews), 1e3 * max(skews)
                told.append(f"{name} {median:.0f} ms, at most {most:.0f} ms")
                is_late |= max(skews) > LATE_SECONDS
            skews.clear()
        if not told:
            return ""
        advice = ": a camera stood still; look at this episode again" if is_late else ""
        return f"pictures lie beside their frames by: {'; '.join(told)}{advice}"
