"""Notices: what a loop has to say many times a second, told as often as somebody can read it."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 1.0  # between two notices of one kind


class Notices:
    """Tells each text once, and of one kind at most one a second.

    It says how many were left out.
    """

    def __init__(
        self, log: Callable[[str], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._now = now
        # of each kind: when something was said, what, and how many were left out since then
        self._last: dict[str, tuple[float, str, int]] = {}

    def say(self, kind: str, text: str) -> None:
        """Tell a text, unless it is the last one again or comes too soon."""
        when, told, left_out = self._last.get(kind, (-SECONDS, "", 0))
        if text == told:
            return
        if self._now() - when < SECONDS:
            self._last[kind] = when, told, left_out + 1
            return
        self._last[kind] = self._now(), text, 0
        if left_out:
            text = f"{text} ({left_out} more like it)"
        self._log(text)
