"""How much memory there is, so that as many environments are opened at once as fit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container [bytes], or "max"
GROUP_USE = Path("/sys/fs/cgroup/memory.current")  # [bytes]
SHARE = 0.5  # of the memory that is available, for all environments together


class MemoryBudget:
    """As many environments at once as fit into a share of the memory that is available now.

    processes: that open environments side by side. The first one is not measured, since it also
    loads what all of them share; so two are always allowed.
    """

    def __init__(self, processes: int = 1) -> None:
        self._bytes = SHARE * available_memory() / processes
        self._opened = 0
        self._largest = 0.0  # [bytes]

    def allows(self, count: int) -> bool:
        """Return whether `count` environments as large as the largest so far fit."""
        return count <= 2 or count * self._largest <= self._bytes

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Measure what the block, which opens an environment, adds to this process."""
        before = resident_memory()
        yield
        if self._opened:
            self._largest = max(self._largest, resident_memory() - before)
        self._opened += 1


def available_memory() -> float:
    """Return how many bytes programs may still take; infinite where the system does not say."""
    found = [_read_kilobytes("/proc/meminfo", "MemAvailable", math.inf)]
    try:
        limit = float(GROUP_LIMIT.read_text().replace("max", "inf"))
        found.append(limit - float(GROUP_USE.read_text()))
    except (OSError, ValueError):
        pass  # no container
    return min(found)


def resident_memory() -> float:
    """Return how many bytes this process holds; 0 where the system does not say."""
    return _read_kilobytes("/proc/self/status", "VmRSS", 0.0)


def private_memory() -> float:
    """Return how many bytes nobody else could use, files that are mapped left out; 0 if unknown."""
    return _read_kilobytes("/proc/self/status", "RssAnon", 0.0)


def _read_kilobytes(path: str, name: str, unknown: float) -> float:
    """Return the entry `name` of a file of the Linux kernel in bytes, or `unknown`."""
    try:
        content = Path(path).read_text(encoding="utf-8")
    except OSError:
        return unknown
    found = re.search(rf"^{name}:\s*(\d+) kB", content, re.MULTILINE)
    return 1024 * float(found[1]) if found else unknown
