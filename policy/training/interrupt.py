"""Ctrl-C between steps: a training that ends halfway through one could not be taken up exactly."""

from __future__ import annotations

import signal
import threading


class Interrupt:
    """Holds a first interrupt back in `asked`, for a loop to obey when it can.

    A second one strikes at once. Only the main thread may handle signals, and a job in the
    background ignores interrupts; there nothing is held back.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interrupt:
        self._before = signal.getsignal(signal.SIGINT)
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._held = in_main_thread and callable(self._before)
        if self._held:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_: object) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)
