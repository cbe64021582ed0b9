"""Pipes between the control process and the one that started it: neither is ever waited for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

# Bytes that wait where the pipe is full, until what can be spared is dropped.
EVENTS = 1 << 18
TICKS = 1 << 16
CHUNKS = 1 << 18
PIECE = 1 << 16  # bytes that are written at once
BREAKING_OFF = ("stop", "hold", "disarm")  # orders for which nothing is gone on with


class Wire:
    """A pipe to write to.

    What does not fit waits; beyond `limit` bytes what can be spared is dropped, and counted.
    """

    def __init__(self, fd: int, limit: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._limit = limit
        self._waiting = bytearray()
        self.dropped = 0

    def send(self, content: bytes, spare: bool = True) -> None:
        """Write as soon as it fits; spare: it may be dropped."""
        if spare and len(self._waiting) > self._limit:
            self.dropped += 1
        else:
            self._waiting += content
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as it fits."""
        try:
            while self._waiting:
                written = os.write(self._fd, self._waiting[:PIECE])
                del self._waiting[:written]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._waiting.clear()


class Events:
    """What happens, as lines of JSON with their time [s] by the clock `now`."""

    def __init__(self, wire: Wire, now: Callable[[], float]) -> None:
        self.wire = wire
        self._now = now

    def write(self, event: str, *, spare: bool = False, **details: Any) -> None:
        """Write an event for whoever keeps the log; spare: it may be dropped where nobody reads."""
        line = json.dumps({"time": self._now(), "event": event, **details})
        self.wire.send(line.encode() + b"\n", spare)


class Orders:
    """Lines of a pipe, read without waiting.

    Its end is the order to stop: nobody is left to give another one.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._rest = b""  # of a line whose end is not there yet
        self._lines: list[str] = []

    def take(self) -> list[str]:
        """Return what was ordered since the last time."""
        self._read()
        lines = self._lines
        self._lines = []
        return lines

    def break_off(self) -> bool:
        """Return whether something was ordered for which nothing is gone on with.

        It stays to be taken.
        """
        self._read()
        return any(line.split()[0] in BREAKING_OFF for line in self._lines)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            content = os.read(self._fd, 4096)
            *whole, self._rest = (self._rest + content).split(b"\n")
            lines = [line.decode() for line in whole if line.strip()]
            if not content and "stop" not in self._lines:
                lines.append("stop")
            self._lines.extend(lines)
