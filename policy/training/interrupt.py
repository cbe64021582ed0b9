"""Ctrl-C between steps: work that is interrupted halfway through a step could not be taken up again exactly."""

from __future__ import annotations

import signal
import threading


class Interrupt:
    """Holds a first interrupt back in `asked`, for a loop to obey when it can; a second one strikes at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interrupt:
        self._before = signal.getsignal(signal.SIGINT)
        main = (
            threading.current_thread() is threading.main_thread()
        )  # the only one that may set a handler
        self._held = main and callable(
            self._before
        )  # a job in the background ignores interrupts: so be it
        if self._held:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_: object) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)
