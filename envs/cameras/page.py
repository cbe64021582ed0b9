"""A page that shows what cameras see, and on which a person gives them names."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np

from ..errors import FewstepError
from ..pictures import resize
from ..web.address import Address, listen
from .rings import PictureRing

PAGE = Path(__file__).with_name("page.html")
TILE = (240, 320)  # px of one camera's picture, its proportions lost
PERIOD = 0.1  # [s] between two pictures
TOLD_PERIOD = 1.0  # [s] between two rates


class CameraPage:
    """Serves the page; `write` is given the names {camera: name} and returns what became of them.

    described: of each camera, in words; look: returns what is wrong with each, "" for nothing. A
    camera that gets no name is left out.
    """

    def __init__(
        self,
        rings: Mapping[str, PictureRing],
        described: Mapping[str, str],
        port: int,
        write: Callable[[dict[str, str]], str],
        look: Callable[[], Mapping[str, str]],
    ) -> None:
        from ..web.audience import Audience

        self._rings = rings
        self._write = write
        self._look = look
        self._asked = SimpleQueue[dict[str, str]]()
        self._told_at = 0.0
        listening = listen("127.0.0.1", port)
        address = Address("127.0.0.1", listening.getsockname()[1])
        self.address = address.url
        height, width = TILE
        cameras = [{"name": name, "described": described[name]} for name in rings]
        greeting = json.dumps({"cameras": cameras, "tile": [width, height]})
        self._audience = Audience(address, listening, PAGE, greeting, on_message=self._hear)

    def serve(self) -> None:
        """Show pictures and write names, until interrupted."""
        while True:
            self.look()
            time.sleep(PERIOD)

    def look(self) -> None:
        """Show the newest pictures, and write what was asked for."""
        with suppress(Empty):
            self._obey(self._asked.get_nowait())
        if not self._audience.watched:
            return
        self._audience.show(np.hstack([tile_of(ring) for ring in self._rings.values()]))
        if time.monotonic() > self._told_at + TOLD_PERIOD:
            self._told_at = time.monotonic()
            troubles = self._look()
            states = {}
            for name, ring in self._rings.items():
                states[name] = troubles.get(name) or f"{ring.rate():.1f} Hz"
            self._audience.tell(json.dumps({"states": states}))

    def close(self) -> None:
        """Stop serving; may be called again."""
        self._audience.close()

    def _hear(self, message: str | bytes, client: object) -> None:
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            names = {}
            for camera, name in json.loads(message)["names"].items():
                if camera in self._rings and str(name).strip():
                    names[camera] = str(name).strip()
            self._asked.put(names)

    def _obey(self, names: dict[str, str]) -> None:
        try:
            self._audience.tell(json.dumps({"said": self._write(names)}))
        except FewstepError as error:
            self._audience.tell(json.dumps({"said": str(error), "wrong": True}))


def tile_of(ring: PictureRing) -> np.ndarray:
    """Return the newest picture of a camera at the size of a tile, black while there is none."""
    found = ring.nearest(time.monotonic())
    return np.zeros((*TILE, 3), np.uint8) if found is None else resize(found[1], TILE)
