"""The page on which an operator sees a run, holds it, arms it again and ends it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from ....envs.cameras.page import tile_of
from ....envs.cameras.rings import PictureRing
from ....envs.web.address import Address, listen, on_first_free, require_host, require_port
from ....envs.web.audience import Audience
from .live_feed import LATE_BINS, LiveFeed, describe_elements
from .run_replay import describe_run

PAGE = Path(__file__).with_name("page.html")
PERIOD = 0.1  # [s] between two looks
BUTTONS = ("hold", "arm", "stop", "take")


class LivePage:
    """Serves the page from threads of its own, which nobody waits for.

    press: is called, on a thread of the page, with one of BUTTONS. rings: of cameras. takes:
    whether an operator can take the robot. Only who has the address, which holds a secret, sees or
    presses anything.
    """

    def __init__(
        self,
        feed: LiveFeed,
        title: str,
        rings: Mapping[str, PictureRing],
        port: int,
        press: Callable[[str], None],
        takes: bool = False,
    ) -> None:
        self._feed = feed
        self._rings = rings
        self._press = press
        listening = listen("127.0.0.1", port)
        address = Address("127.0.0.1", listening.getsockname()[1])
        self.address = address.url
        greeting = {
            "title": title,
            "elements": describe_elements(feed.spec),
            "late_bins": LATE_BINS,
            "cameras": list(rings),
            "takes": takes,
        }
        self._audience = Audience(
            address, listening, PAGE, json.dumps(greeting), self._hear, on_leave=lambda: None
        )
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; may be called again."""
        self._end.set()
        self._thread.join()
        self._audience.close()

    def _work(self) -> None:
        while not self._end.wait(PERIOD):
            news = (
                self._feed.news()
            )  # whether anybody looks or not, so that nothing old is new later
            if self._audience.watched:
                self._audience.tell(json.dumps(news))
                if self._rings:
                    tiles = [tile_of(ring) for ring in self._rings.values()]
                    self._audience.show(np.hstack(tiles))

    def _hear(self, message: str | bytes) -> None:
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            button = json.loads(message)["press"]
            if button in BUTTONS:
                self._press(button)


class ReplayPage:
    """Serves the page of a run that is over, from its log; it has a slider and no buttons."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        require_host(host)
        require_port(port)
        greeting = json.dumps(describe_run(folder))
        listening = on_first_free(host, port, lambda free: socket.create_server((host, free)))
        address = Address(host, listening.getsockname()[1])
        self.address = address.url
        self._audience = Audience(
            address, listening, PAGE, greeting, on_message=_hear_nothing, on_leave=lambda: None
        )

    def wait(self) -> None:
        """Serve until interrupted."""
        threading.Event().wait()

    def close(self) -> None:
        """Stop serving; may be called again."""
        self._audience.close()


def _hear_nothing(message: str | bytes) -> None:
    """Nothing can be asked for."""
