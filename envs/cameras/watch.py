"""How a robot's cameras are doing, as the process that controls it sees them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..clock import Clock
from ..errors import RobotError
from ..loop import Actor
from ..robot import Command, Obs
from .rings import STATUS, CameraPort

SAME_SECONDS = 0.05  # between two readings of one clock


class CameraWatch:
    """Knows when each camera's newest picture was taken, and what is wrong; sees no picture.

    seconds: without a picture, after which a camera counts as gone. clock: of the robot, which has
    to be the clock by which pictures are stamped; RobotError where it is another one.
    """

    def __init__(self, ports: Sequence[CameraPort], seconds: float, clock: Clock) -> None:
        if ports and abs(clock.now() - time.monotonic()) > SAME_SECONDS:
            raise RobotError(
                "pictures are stamped by the system's monotonic clock, and this robot has another "
                "one: give it a WallClock to use it with cameras="
            )
        self._seconds = seconds
        self.sizes = {port.name: port.size for port in ports}
        self._statuses = {port.name: port.open_status() for port in ports}
        self._newest: dict[str, np.ndarray] = {}
        for port in ports:
            self._newest[port.name] = np.zeros((), STATUS)

    def look(self) -> None:
        """Take note of what the cameras' processes say."""
        for name, status in self._statuses.items():
            found = status.read()
            if found is not None:
                self._newest[name] = found

    def stamps(self) -> dict[str, float]:
        """Return when the newest picture of each camera was taken [s]."""
        return {name: float(newest["stamp"]) for name, newest in self._newest.items()}

    def trouble(self, now: float) -> str:
        """Return what is wrong at `now` [s], with the camera's name; "" for nothing."""
        for name, newest in self._newest.items():
            trouble = bytes(newest["trouble"]).decode(errors="replace")
            if trouble:
                return f"camera {name} {trouble}"
            age = now - newest["stamp"]
            if not age <= self._seconds:  # nor where it is no number
                return f"camera {name}: its newest picture is {age:.2f} s old"
        return ""


class WithStamps:
    """An Actor that is also told when the newest pictures were taken."""

    def __init__(self, actor: Actor, cameras: CameraWatch) -> None:
        self._actor = actor
        self._cameras = cameras
        self.reset = actor.reset
        self.sent = actor.sent

    def act(self, obs: Obs) -> Command | None:
        """Return what the actor wants."""
        stamps: Mapping[str, float] = {**obs.stamps, **self._cameras.stamps()}
        return self._actor.act(replace(obs, stamps=stamps))
