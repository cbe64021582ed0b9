"""What the processor that trains can do: how many threads pay, and how exactly it multiplies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def multiplies_in_bfloat16(device: torch.device) -> bool:
    """Say whether a device has products of bfloat16 numbers; a CPU that imitates them is slow."""
    if device.type != "cpu":
        return device.type == "cuda"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # older releases do not tell
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


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

    On small networks, or on a busy machine, more are often slower.
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
