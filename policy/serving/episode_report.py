"""What a person is told of an episode after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...envs import Spec
from ...envs.control.log_reading import Altered, missed
from ...envs.robot import source_number
from .run_config import Log

MISSED_SHARE = 0.01  # of the ticks of an episode, above which it is told
ALTERED_SHARE = 0.1  # of its commands, above which a person is warned


def report_episode(spec: Spec, ticks: np.ndarray, cameras: Sequence[str], log: Log) -> None:
    """Tell what limits have changed, how many ticks were missed, and how old pictures were.

    And how long the operator had the robot, where they took it.

    spec: of the robot; ticks: of the episode, as `tick_type`; cameras: beside the robot's own.
    """
    altered = Altered.of(spec, ticks)
    if len(altered.distances):
        log(altered.describe(), "warning" if altered.share > ALTERED_SHARE else "info")
    hz = spec.command_hz
    operators = np.count_nonzero(ticks["source"] == source_number("operator"))
    if operators:
        log(
            f"the operator had the robot for {operators / hz:.1f} of {len(ticks) / hz:.1f} s",
            "info",
        )
    lost, due = missed(ticks, hz)
    if lost > MISSED_SHARE * due:
        log(f"{lost} of {due} ticks were missed: this computer does not keep {hz:g} Hz", "alarm")
    if cameras and len(ticks):
        log(_describe_ages(ticks, cameras), "info")


def _describe_ages(ticks: np.ndarray, cameras: Sequence[str]) -> str:
    """Return how old the newest pictures were at the ticks."""
    ages = 1e3 * ticks["ages"].T[-len(cameras) :]  # the robot's own come first
    told = []
    for name, age in zip(cameras, ages, strict=True):
        told.append(f"{name} {np.median(age):.0f} ms, at most {age.max():.0f} ms")
    return f"the newest pictures were old: {'; '.join(told)}"
