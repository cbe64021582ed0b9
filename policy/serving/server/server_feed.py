"""What the page of a server shows: who asks, what was observed, and what was answered."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....envs import Spec
from ....envs.agent import Request
from ....envs.cameras.page import TILE
from ....envs.chunk import Chunk
from ....envs.pictures import resize
from ....envs.robot import Obs, measured_action
from ..live.live_feed import Lateness, describe_elements, finite, plain_numbers
from .metrics import SECONDS
from .session import Asked

MOST_LINES = 50  # that were said
MOST_SAMPLES = 1000  # of one client, between two looks
IDLE_SECONDS = 2.0  # [s] without a question, after which nobody is being answered


@dataclass
class Seen:
    """What is known of one client."""

    chunks: int = 0
    begun: int = 0  # how often its time began anew
    request: Request | None = None
    warnings: Sequence[str] = ()  # that it was given with the last answer
    chunk: Chunk | None = None
    sample: dict[str, Any] | None = None  # the last, for who looks at it from now on
    seconds: float = 0.0  # that its last answer took


class ServerFeed:
    """Told by a server what happens, and read by a page; no one waits for the other.

    Samples are kept of one client: the one that a page has chosen, else the one that came last.
    """

    def __init__(self, spec: Spec, title: str) -> None:
        self._spec = spec
        self._title = title
        self._lock = threading.Lock()
        self._clients: dict[str, Seen] = {}
        self._chosen = ""  # the client that is looked at
        self._by_page = False  # whether a page has chosen it
        self._samples: deque[dict[str, Any]] = deque(maxlen=MOST_SAMPLES)
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._taken = Lateness(SECONDS)
        self._answered = -np.inf  # when the last answer left [s]

    def came(self, client: str) -> None:
        """Show a client from now on."""
        with self._lock:
            self._clients[client] = Seen()
            if not self._by_page:
                self._choose(client)

    def left(self, client: str) -> None:
        """Show a client no more."""
        with self._lock:
            self._clients.pop(client, None)
            if client == self._chosen:
                self._by_page = False
                self._choose(next(reversed(self._clients), ""))

    def say(self, text: str) -> None:
        """Show a line."""
        with self._lock:
            self._lines.append(f"{time.strftime('%H:%M:%S')} {text}")

    def answered(self, client: str, asked: Asked, chunk: Chunk, seconds: float) -> None:
        """Show what a client observed and was told, and how long that took [s]."""
        request = asked.request
        with self._lock:
            seen = self._clients.get(client)
            if seen is None:  # another client without an address has left
                return
            last = seen.request
            if last is None or request.episode != last.episode or request.time < last.time:
                seen.begun += 1
                seen.chunk = None
                if client == self._chosen:
                    self._samples.clear()
            seen.sample = self._sample(request, seen.chunk)
            if client == self._chosen:
                self._samples.append(seen.sample)
            seen.chunks += 1
            seen.request = request
            seen.warnings = asked.warnings
            seen.chunk = chunk
            seen.seconds = seconds
            self._taken.add(np.array([seconds]))
            self._answered = time.monotonic()

    def greet(self) -> dict[str, Any]:
        """Return what is commanded, and which cameras clients send."""
        return {
            "title": self._title,
            "elements": describe_elements(self._spec),
            "late_bins": SECONDS,
            "cameras": list(self._spec.images),
            "buttons": [],
            "serves": True,
        }

    def news(self) -> dict[str, Any]:
        """Return who is there, and what is new of the one that is looked at."""
        with self._lock:
            samples = list(self._samples)
            self._samples.clear()
            seen = self._clients.get(self._chosen, Seen())
            chunk = None
            if seen.chunk is not None:
                chunk = {
                    "time": seen.chunk.time,
                    "dt": seen.chunk.dt,
                    "seconds": seen.seconds,
                    "actions": plain_numbers(seen.chunk.actions),
                }
            busy = time.monotonic() < self._answered + IDLE_SECONDS
            news = {
                "state": "answering" if busy else "waiting",
                "source": "policy",
                "episode": seen.request.episode if seen.request else -1,
                "silent": 0.0,
                "samples": samples,
                "chunk": chunk,
                "scores": [],
                "late": self._taken.describe(),
                "ages": {},
                "lines": list(self._lines),
                "clients": {client: each.chunks for client, each in self._clients.items()},
                "chosen": self._chosen,
                "strand": f"{self._chosen} {seen.begun}",
                "warnings": list(seen.warnings),
            }
        return finite(news)

    def hear(self, message: Mapping[str, Any]) -> None:
        """Look at the client that was chosen on a page."""
        with self._lock:
            if message["choose"] in self._clients:
                self._by_page = True
                self._choose(message["choose"])

    def pictures(self) -> list[np.ndarray]:
        """Return what the client that is looked at has sent last, at the size of a tile."""
        with self._lock:
            request = self._clients.get(self._chosen, Seen()).request
        tiles = []
        for camera in self._spec.images:
            if request is None:
                tiles.append(np.zeros((*TILE, 3), np.uint8))
            else:
                tiles.append(resize(request.obs[camera][-1], TILE))
        return tiles

    def _choose(self, client: str) -> None:
        self._chosen = client
        self._samples.clear()
        last = self._clients.get(client, Seen()).sample
        if last is not None:
            self._samples.append(last)

    def _sample(self, request: Request, before: Chunk | None) -> dict[str, Any]:
        """Return what was measured, and what the chunk before had planned for that time."""
        newest = {key: request.obs[key][-1] for key in self._spec.states}
        measured = measured_action(self._spec, Obs(request.time, newest, {}))
        planned = before.at(request.time, self._spec) if before else None
        nothing = np.full(len(measured), np.nan)
        return {
            "time": request.time,
            "measured": plain_numbers(measured),
            "wanted": plain_numbers(nothing if planned is None else planned),
            "limited": plain_numbers(nothing),
        }
