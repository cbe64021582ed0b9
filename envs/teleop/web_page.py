"""A page in a browser as a device: drag the gripper, or the disk, with a mouse or a finger."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..web.address import Address, listen
from .devices import AXES, KEYS
from .drive import NOTHING, Hand

if TYPE_CHECKING:
    from ..web.audience import Client

PAGE = Path(__file__).with_name("page.html")
FRAME_RATE = 10.0  # pictures a second
EVENTS = ("start", "success", "failure", "discard", "quit")
TAKEN = "another page has the hand; this one looks on until that one is closed"
# What handling a message raises that our page would not send.
NOT_FROM_OUR_PAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class Ground(Protocol):
    """A Tool that knows where in the world a place in its picture is."""

    def ground(self, place: np.ndarray) -> np.ndarray:
        """Return x, y (n, 2) where the hand would be at places (n, 2) in the picture.

        Places are 0 to 1 from the upper left.
        """
        ...

    @property
    def speed(self) -> np.ndarray:
        """Return what full deflection does in a second (7,); x and y in the units of `ground`."""
        ...


class Page:
    """Serves the page and receives what it sends.

    What was dragged is done as fast as the robot can, and never forgotten. Only the page at
    `address` is heard, on this machine unless `host` says otherwise. The first page that moves or
    says something has the hand: others look on until it goes away, which lets go of everything.
    Nobody who looks on can keep `show` or `log` waiting.
    """

    def __init__(
        self,
        tool: Ground,
        host: str = "127.0.0.1",
        port: int = 8007,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from ..web.audience import Audience

        self._tool = tool
        self._clock = clock
        self._drag_left = NOTHING.copy()  # of what was dragged: seconds of full deflection
        self._keys_down: set[str] = set()
        self._operator: object = None  # whose page has the hand
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._read_at: float | None = None
        self._shown_at = 0.0
        self._lock = threading.Lock()
        listening = listen(host, port)
        address = Address(host, listening.getsockname()[1])
        moving = [axis for axis, speed in zip(AXES, tool.speed, strict=True) if speed]
        self.address = address.url
        self._audience = Audience(
            address,
            listening,
            PAGE,
            greeting=json.dumps({"axes": moving}),
            on_message=self._receive,
            on_leave=self._let_go,
        )

    def read(self) -> Hand:
        """Return what is left to do of what was dragged, and keys that are held."""
        now = self._clock()
        dt = 0.0 if self._read_at is None else now - self._read_at
        self._read_at = now
        with self._lock:
            move = np.clip(self._drag_left / dt, -1, 1) if dt > 0 else NOTHING.copy()
            self._drag_left = self._drag_left - move * dt
            for key in self._keys_down:
                axis, direction = KEYS[key]
                move[AXES.index(axis)] = direction
        return Hand(move, tuple(self._take_events()))

    def _take_events(self) -> Iterator[str]:
        """Yield what was said since the last time."""
        with suppress(queue.Empty):
            while True:
                yield self._said.get_nowait()

    def show(self, draw: Callable[[], np.ndarray]) -> None:
        """Send a picture (height, width, 3) to whoever looks, where the last one is old enough."""
        if self._audience.watched and self._clock() >= self._shown_at + 1 / FRAME_RATE:
            self._shown_at = self._clock()
            self._audience.show(np.array(draw()))

    def log(self, text: str, **more: Any) -> None:
        """Say something on the page."""
        self._audience.tell(json.dumps({"text": text, **more}))

    def close(self) -> None:
        """Stop serving; may be called again."""
        self._audience.close()

    def _receive(self, message: str | bytes, client: Client) -> None:
        with suppress(*NOT_FROM_OUR_PAGE):
            said = json.loads(message)
            if self._operator is None and _acts(said):
                self._operator = client
            if self._operator is client:
                self._obey(said)
            elif _acts(said):
                self._audience.answer(client, json.dumps({"text": TAKEN}))

    def _let_go(self, client: Client) -> None:
        if self._operator is not client:
            return
        self._operator = None
        with self._lock:
            self._keys_down.clear()
            self._drag_left = NOTHING.copy()

    def _obey(self, message: dict[str, Any]) -> None:
        if message.get("word") in EVENTS:
            self._said.put(message["word"])
        with self._lock:
            if message.get("key") in KEYS:
                self._press(message["key"], message["down"])
            if "drag" in message:
                self._drag(np.array(message["drag"], float).reshape(2, 2))

    def _press(self, key: str, down: bool) -> None:
        if down:
            self._keys_down.add(key)
        else:
            self._keys_down.discard(key)

    def _drag(self, places: np.ndarray) -> None:
        """Add the way between two places (2, 2) in the picture to what is left to do."""
        if np.isfinite(places).all():
            before, after = self._tool.ground(np.clip(places, 0, 1))
            self._drag_left[:2] += (after - before) / self._tool.speed[:2]


def _acts(message: dict[str, Any]) -> bool:
    """Return whether a page moves or says something; one that lets go of a key does not."""
    presses = message.get("key") in KEYS and bool(message["down"])
    return presses or "drag" in message or message.get("word") in EVENTS
