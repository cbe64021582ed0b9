"""Whether a robot's clock goes as time does."""

from __future__ import annotations

from ..clock import Clock

BACK_SECONDS = 1e-3  # that a clock may go back: two readings of it may come in another order
WINDOW_SECONDS = 1.0  # over which its rate is judged
SLOWEST, FASTEST = 0.5, 2.0  # times as fast as time


class ClockCheck:
    """Compares a clock with another one that is trusted."""

    def __init__(self, clock: Clock, trusted: Clock) -> None:
        self._clock, self._trusted = clock, trusted
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._last = self._begun = self._clock.now()
        self._trusted_begun = self._trusted.now()

    def trouble(self) -> str:
        """Return what is wrong since the last time; "" for nothing."""
        now, trusted = self._clock.now(), self._trusted.now()
        back, self._last = self._last - now, now
        if back > BACK_SECONDS:
            self.forget()
            return f"the robot's clock went back by {back:.2f} s"
        passed = trusted - self._trusted_begun
        if passed < WINDOW_SECONDS:
            return ""
        shown = now - self._begun
        self.forget()
        if SLOWEST * passed <= shown <= FASTEST * passed:
            return ""
        return f"the robot's clock went on by {shown:.2f} s in {passed:.2f} s"
