"""What a camera process leaves in shared memory: its newest pictures, and how it is doing."""

from __future__ import annotations

import math
import struct
import time
from dataclasses import dataclass

import numpy as np

from ..mailbox import Mailbox, SharedMemory

RING_SECONDS = 1.0  # for which a picture is kept
STAMP = struct.Struct("<d")
STATUS = np.dtype(
    [
        ("stamp", "f8"),  # of the newest picture [s, monotonic clock]
        ("alive", "f8"),  # when the process was last at work [s, monotonic clock]
        ("trouble", "S240"),  # what is wrong with the pictures, in words
    ]
)


@dataclass(frozen=True)
class CameraPort:
    """Where other processes find a camera's pictures. status, ring: file descriptors."""

    name: str
    height: int
    width: int
    hz: float
    status: int
    ring: int

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of its pictures [px]."""
        return self.height, self.width

    def open_ring(self) -> PictureRing:
        """Return its pictures."""
        return PictureRing(self.size, self.hz, self.ring)

    def open_status(self) -> Mailbox:
        """Return where its process says how it is doing."""
        return Mailbox(STATUS, self.status)


class PictureRing(SharedMemory):
    """The pictures of the last second; one process writes, others find them by their stamps."""

    def __init__(self, size: tuple[int, int], hz: float, fd: int | None = None) -> None:
        pictured = np.dtype([("stamp", "<f8"), ("picture", "u1", (*size, 3))])
        super().__init__(pictured, math.ceil(RING_SECONDS * hz) + 1, fd)
        self._record = np.zeros((), pictured)
        self._number = 0

    def write(self, stamp: float, picture: np.ndarray) -> None:
        """Put a picture (h, w, 3) in the place of the oldest."""
        self._number += 1
        self._record["stamp"] = stamp
        self._record["picture"] = picture
        slot = self._slots[self._number % len(self._slots)]
        slot.write(self._number, self._record.tobytes())

    def newest(self) -> float:
        """Return the stamp of the newest picture [s]; -inf where there is none."""
        return max(self._stamps(), default=-math.inf)

    def rate(self) -> float:
        """Return how many pictures a second came in the last one; 0 where there was none."""
        now = time.monotonic()
        recent = [stamp for stamp in self._stamps() if stamp > now - RING_SECONDS]
        return (len(recent) - 1) / (max(recent) - min(recent)) if len(recent) > 1 else 0.0

    def nearest(self, moment: float) -> tuple[float, np.ndarray] | None:
        """Return the stamp [s] and the picture (h, w, 3) that was taken nearest to `moment` [s].

        None where there is none.
        """
        stamps = self._stamps()
        for stamp in sorted(stamps, key=lambda stamp: abs(stamp - moment)):
            found = self._slots[stamps[stamp]].read()
            if found is None:
                continue
            record = np.frombuffer(found[1], self.dtype)[0]
            if record["stamp"] == stamp:  # else another picture has come into its place
                return stamp, record["picture"]
        return None

    def _stamps(self) -> dict[float, int]:
        """Return the stamps of what lies in the slots, and in which."""
        stamps = {}
        for index, slot in enumerate(self._slots):
            if slot.number():
                (stamp,) = STAMP.unpack_from(self._memory, slot.body)
                stamps[stamp] = index
        return stamps
