"""Control time: one monotonic clock, absolute deadlines."""

import math
import time
from collections.abc import Iterator
from typing import Protocol


class Clock(Protocol):
    """Monotonic time in seconds.

    A simulated robot owns its clock: waiting on it advances the simulation.
    """

    def now(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def wait_until(self, deadline: float) -> None:
        """Return at `deadline`, or at once where it has passed."""
        ...


class WallClock:
    """Real time."""

    def now(self) -> float:
        """Seconds of the system's monotonic clock, which no change of date can move."""
        return time.monotonic()

    def wait_until(self, deadline: float) -> None:
        """Sleep until `deadline`."""
        left = deadline - time.monotonic()
        if left > 0:
            time.sleep(left)


def ticks(
    clock: Clock, hz: float, seconds: float = math.inf, start: float | None = None
) -> Iterator[float]:
    """Yield at start + k / hz for `seconds`, with the lateness of each tick [s].

    It returns when the last tick has ended. Lateness never accumulates. A tick that is missed
    altogether is skipped, never caught up in a burst, and so is one that would follow nearer than
    half a period. start: by default now.
    """
    start = clock.now() if start is None else start
    k = 0
    while k < seconds * hz - 1e-6:
        deadline = start + k / hz
        clock.wait_until(deadline)
        began = clock.now()
        yield max(0.0, began - deadline)
        k = max(k + 1, int((clock.now() - start) * hz + 1e-6))
        if start + k / hz < began + 0.5 / hz - 1e-9:
            k += 1
    clock.wait_until(start + k / hz)
