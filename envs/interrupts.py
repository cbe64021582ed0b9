"""Ctrl-C and other signals, handled for the length of a block in the main thread.

In other threads, which may handle none, they stay as they are.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def handled_signals(handler: Callable[..., object], *numbers: signal.Signals) -> Iterator[None]:
    """Let `handler` take these signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in numbers:
        before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let a service manager, and a terminal that is closed, end the block as Ctrl-C does."""
    with handled_signals(_interrupt, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold a Ctrl-C back until the block has ended; then it strikes."""
    pressed: list[bool] = []

    def hold_back(*_: object) -> None:
        pressed.append(True)

    with handled_signals(hold_back, signal.SIGINT):
        yield
    if pressed:
        signal.raise_signal(signal.SIGINT)


class Interrupt:
    """Holds a first Ctrl-C back in `asked`, for a loop to obey when it can.

    A second one strikes at once.
    A job in the background ignores Ctrl-C, and goes on doing so.
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


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
