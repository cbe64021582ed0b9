"""How many threads to use: on small networks, or on a busy machine, more are often slower."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def find_fastest(work: Callable[[], object], most: int, repeats: int = 3) -> int:
    """Return the number of threads with which `work` takes the least time here and now.

    Tried are 1, 2, 4 and so on up to `most`; a larger number has to save a tenth of the time.
    """
    best = 1
    least_seconds = float("inf")
    count = 1
    while count <= most:
        with torch_threads(count):
            # The first run may be slow, but not as slow as this.
            if _measure_seconds(work) > 3 * least_seconds:
                break
            seconds = min(_measure_seconds(work) for _ in range(repeats))
        if seconds < 0.9 * least_seconds:
            best = count
            least_seconds = seconds
        count *= 2
    return best


def _measure_seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
