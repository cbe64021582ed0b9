"""Signals handled for the length of a block, in the main thread; elsewhere they stay as they are."""

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
    before = {number: signal.signal(number, handler) for number in numbers}
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


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
