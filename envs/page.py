"""A page in a browser as a device for teleoperation: drag the gripper, or the disk, with a mouse or a finger."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from .devices import AXES, KEYS
from .errors import ConfigError, RobotError
from .teleop import NOTHING, Hand

PAGE = Path(__file__).parent / "assets" / "teleop.html"
FRAMES = 10.0  # pictures a second
WORDS = ("start", "success", "failure", "discard", "quit")
POLICY = "default-src 'none'; img-src blob:; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


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

    Only pages of this very server are heard, on this machine unless `host` says otherwise. A page that goes away lets
    go of everything.
    """

    def __init__(
        self, tool: Ground, host: str = "127.0.0.1", port: int = 8007, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from websockets.sync.server import serve

        if not 0 <= port <= 65535:
            raise ConfigError(f"port must be 0 (any) to 65535, not {port}")
        self._tool, self._clock = tool, clock
        self._left = NOTHING.copy()  # of what was dragged: seconds of full deflection
        self._held, self._said = set[str](), queue.SimpleQueue[str]()
        self._time: float | None = None
        self._sent, self._lock, self._pages = 0.0, threading.Lock(), set[Any]()
        try:
            self._server = serve(self._hear, host, port, process_request=self._answer, compression=None, max_size=4096)
        except OSError as error:
            raise RobotError(f"cannot serve the page on {host}:{port}: {error.strerror or error}") from error
        self.address = f"http://{host}:{self._server.socket.getsockname()[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

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
        if not self._pages or self._clock() < self._sent + 1 / FRAMES:
            return
        from PIL import Image

        self._sent, out = self._clock(), BytesIO()
        Image.fromarray(draw()).save(out, "JPEG", quality=85)
        self._tell(out.getvalue())

    def tell(self, text: str, **more: Any) -> None:
        """Say something on the page."""
        self._tell(json.dumps({"text": text, **more}))

    def close(self) -> None:
        """Stop serving; may be called again."""
        self._server.shutdown()

    def _tell(self, message: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        for page in list(self._pages):
            with suppress(ConnectionClosed, OSError):
                page.send(message)

    def _answer(self, connection: Any, request: Any) -> Any:
        """The page itself, and nothing for pages of other servers."""
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if host != urlsplit(self.address).netloc or (origin is not None and urlsplit(origin).netloc != host):
            return connection.respond(HTTPStatus.FORBIDDEN, "this page is served to its own address only\n")
        if request.path == "/hand":
            return None
        if request.path != "/":
            return connection.respond(HTTPStatus.NOT_FOUND, "there is only one page\n")
        response = connection.respond(HTTPStatus.OK, PAGE.read_text(encoding="utf-8"))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "text/html; charset=utf-8"
        response.headers["Content-Security-Policy"] = POLICY
        return response

    def _hear(self, page: Any) -> None:
        moving = [axis for axis, speed in zip(AXES, self._tool.speed, strict=True) if speed]
        page.send(json.dumps({"axes": moving}))
        self._pages.add(page)
        try:
            for message in page:
                with suppress(ValueError, KeyError, TypeError, AttributeError):  # no page of ours says such a thing
                    self._do(json.loads(message))
        finally:
            self._pages.discard(page)
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
