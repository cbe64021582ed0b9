"""Whether the seed of a reset decides how an episode starts, as pairing and replay need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

import numpy as np

from ..robot import Robot


def ignores_seed(make_robot: Callable[[], Robot], seed: int = 0) -> bool:
    """Return whether two fresh robots that are reset with one seed observe different starts.

    Every observation of the Spec is compared. An environment that draws in its constructor, or from
    a global stream, is found out; one whose hidden state differs is not.
    """
    return not _starts_equal(_observe_start(make_robot, seed), _observe_start(make_robot, seed))


def _observe_start(make_robot: Callable[[], Robot], seed: int) -> Mapping[str, np.ndarray]:
    with closing(make_robot()) as robot:
        robot.reset(seed)
        return robot.observe().data


def _starts_equal(start: Mapping[str, np.ndarray], other_start: Mapping[str, np.ndarray]) -> bool:
    for key, value in start.items():
        if not np.array_equal(value, other_start[key], equal_nan=value.dtype.kind == "f"):
            return False
    return True
