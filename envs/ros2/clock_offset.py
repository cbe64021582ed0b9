"""What time a stamp of another machine is here."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 10.0  # over which the offset of the clocks is taken


class ClockOffset:
    """Turns stamps of another clock into the time here [s].

    A message has come a transport later than it was stamped. Of the last seconds' messages the one
    that came soonest says how far the clocks are apart; how long it took itself cannot be known,
    and is taken for nothing.
    """

    def __init__(self) -> None:
        self._seen = deque[tuple[float, float]]()  # when it came, and how much later; least first

    def here(self, stamp: float, came: float) -> float:
        """Return when a message was stamped, by the clock here; `came` where it has no stamp.

        stamp: by the other clock, 0 for none; came: by the clock here, in their order.
        """
        if not stamp:
            return came
        later = came - stamp
        while self._seen and self._seen[-1][1] >= later:
            self._seen.pop()
        self._seen.append((came, later))
        while self._seen[0][0] < came - WINDOW_SECONDS:
            self._seen.popleft()
        return stamp + self._seen[0][1]

    @property
    def seconds(self) -> float:
        """Return how far the clock here is ahead [s]; NaN where nothing has come."""
        return self._seen[0][1] if self._seen else float("nan")
