"""The memory that something takes, other than what Python itself counts."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def at_most(megabytes: float) -> Iterator[None]:
    """Fail where the block makes the resident memory of this process grow by more, at any moment."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = _resident("VmRSS")
    except OSError:
        pytest.skip("the peak of memory is not known here")
    yield
    grown = (_resident("VmHWM") - before) / 1024
    assert grown < megabytes, f"{grown:.0f} MB"


def _resident(name: str) -> int:
    found = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])
