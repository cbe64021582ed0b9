"""A page in a browser as a device for teleoperation: drag the gripper, or the disk, with a mouse or a finger."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import RobotError
from ..web.address import Address, require_port
from .devices import AXES, KEYS
from .drive import NOTHING, Hand

PAGE = Path(__file__).with_name("page.html")
FRAMES = 10.0  # pictures a second
WORDS = ("start", "success", "failure", "discard", "quit")


class Ground(Protocol):
    """A Tool that knows where in the world a place in its picture is."""

    def ground(self, place: np.ndarray) -> np.ndarray:
        """Places (n, 2) in the picture, 0 to 1 from the upper left -> x, y (n, 2) where the hand would be."""
        ...

    @property
    def speed(self) -> np.ndarray:
        """(7,) what full deflection does in a second; x and y in the units of `ground`."""
        ...


class Page:
    """Serves the page and hears it; what was dragged is done as fast as the robot can, and never forgotten.

    Only the page at `address` is heard, on this machine unless `host` says otherwise. A page that goes away lets go
    of everything. Nobody who looks on can keep `show` or `tell` waiting.
    """

    def __init__(
        self,
        tool: Ground,
        host: str = "127.0.0.1",
        port: int = 8007,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from ..web.audience import Audience

        self._tool, self._clock = tool, clock
        self._left = NOTHING.copy()  # of what was dragged: seconds of full deflection
        self._held, self._said = set[str](), queue.SimpleQueue[str]()
        self._time: float | None = None
        self._sent, self._lock = 0.0, threading.Lock()
        listening = _listening(host, port)
        where = Address(host, listening.getsockname()[1])
        moving = [axis for axis, speed in zip(AXES, tool.speed, strict=True) if speed]
        self.address = where.url
        greeting = json.dumps({"axes": moving})
        self._audience = Audience(where, listening, PAGE, greeting, self._hear, self._let_go)

    def read(self) -> Hand:
        """What is left to do of what was dragged, and keys that are held."""
        now = self._clock()
        dt, self._time = now - (now if self._time is None else self._time), now
        with self._lock:
            move = np.clip(self._left / dt, -1, 1) if dt > 0 else NOTHING.copy()
            self._left = self._left - move * dt
            for key in self._held:
                axis, direction = KEYS[key]
                move[AXES.index(axis)] = direction
        words = []
        with suppress(queue.Empty):
            while True:
                words.append(self._said.get_nowait())
        return Hand(move, tuple(words))

    def show(self, draw: Callable[[], np.ndarray]) -> None:
        """Send a picture (height, width, 3) to whoever looks, where the last one is old enough."""
        if self._audience.watched and self._clock() >= self._sent + 1 / FRAMES:
            self._sent = self._clock()
            self._audience.show(np.array(draw()))

    def tell(self, text: str, **more: Any) -> None:
        """Say something on the page."""
        self._audience.tell(json.dumps({"text": text, **more}))

    def close(self) -> None:
        """Stop serving; may be called again."""
        self._audience.close()

    def _hear(self, message: str | bytes) -> None:
        no_page_of_ours = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
        with suppress(*no_page_of_ours):
            self._do(json.loads(message))

    def _let_go(self) -> None:
        with self._lock:
            self._held.clear()
            self._left = NOTHING.copy()

    def _do(self, said: dict[str, Any]) -> None:
        if said.get("word") in WORDS:
            self._said.put(said["word"])
        with self._lock:
            if said.get("key") in KEYS:
                (self._held.add if said["down"] else self._held.discard)(said["key"])
            if "drag" in said:
                places = np.array(said["drag"], float).reshape(2, 2)
                if np.isfinite(places).all():
                    went = np.diff(self._tool.ground(np.clip(places, 0, 1)), axis=0)[0]
                    self._left[:2] += went / self._tool.speed[:2]


def _listening(host: str, port: int) -> socket.socket:
    require_port(port)
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise RobotError(
            f"cannot serve the page on {host}:{port}: {error.strerror or error}"
        ) from error
