"""The page on which a person sees what a robot or a policy does, as it happens."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ....envs.web.address import Address, listen, on_first_free, require_host, require_port
from ....envs.web.audience import Audience
from .run_replay import describe_run

PAGE = Path(__file__).with_name("page.html")
PERIOD = 0.1  # [s] between two looks


class Feed(Protocol):
    """What is told to a page, and what a page may ask."""

    def greet(self) -> dict[str, Any]:
        """Return what a page is told once."""
        ...

    def news(self) -> dict[str, Any]:
        """Return what a page shows now, with the samples since the last time, in finite numbers."""
        ...

    def hear(self, message: Mapping[str, Any]) -> None:
        """Do what a page asks for, on a thread of the page."""
        ...

    def pictures(self) -> list[np.ndarray]:
        """Return the newest picture of each camera at the size of a tile."""
        ...


class LivePage:
    """Serves the page from threads of its own, which nobody waits for.

    Only who has the address, which holds a secret, sees or presses anything.
    """

    def __init__(self, feed: Feed, port: int) -> None:
        self._feed = feed
        listening = listen("127.0.0.1", port)
        address = Address("127.0.0.1", listening.getsockname()[1])
        self.address = address.url
        self._audience = Audience(
            address, listening, PAGE, json.dumps(feed.greet()), on_message=self._hear
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
            # Whether anybody looks or not, so that nothing old is new later.
            news = self._feed.news()
            if self._audience.watched:
                self._audience.tell(json.dumps(news, allow_nan=False))
                tiles = self._feed.pictures()
                if tiles:
                    self._audience.show(np.hstack(tiles))

    def _hear(self, message: str | bytes, client: object) -> None:
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._feed.hear(json.loads(message))


class ReplayPage:
    """Serves the page of a run that is over, from its log; it has a slider and no buttons."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        require_host(host)
        require_port(port)
        greeting = json.dumps(describe_run(folder), allow_nan=False)
        listening = on_first_free(host, port, lambda free: socket.create_server((host, free)))
        address = Address(host, listening.getsockname()[1])
        self.address = address.url
        self._audience = Audience(address, listening, PAGE, greeting, on_message=_hear_nothing)

    def wait(self) -> None:
        """Serve until interrupted."""
        threading.Event().wait()

    def close(self) -> None:
        """Stop serving; may be called again."""
        self._audience.close()


def _hear_nothing(message: str | bytes, client: object) -> None:
    """Nothing can be asked for."""
