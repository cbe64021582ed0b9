"""How many threads: on small networks, or on a machine that others use too, more are often slower."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fastest(work: Callable[[], object], most: int, repeats: int = 3) -> int:
    """The number of threads, of 1, 2, 4 and so on up to `most`, with which `work` takes the least time here and now.

    A larger number has to save a tenth of the time.
    """
    best, least = 1, float("inf")
    count = 1
    while count <= most:
        with threads(count):
            if _time(work) > 3 * least:  # the first may be slow, but not so slow
                break
            seconds = min(_time(work) for _ in range(repeats))
        if seconds < 0.9 * least:
            best, least = count, seconds
        count *= 2
    return best


def _time(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
