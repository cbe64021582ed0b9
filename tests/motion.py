"""Judges motion by what was sent.

The largest position, velocity and acceleration in units of their limits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.envs.safety.states import rest_after

EXACT = 1e-6  # share by which rounding in float64 may exceed a limit, twice differenced


@dataclass(frozen=True)
class Worst:
    """In units of the limits; 1 is exactly at the limit."""

    position: float
    velocity: float
    acceleration: float

    def keeps_limits(self) -> bool:
        return max(self.position, self.velocity, self.acceleration) <= 1 + EXACT

    def __or__(self, other: Worst) -> Worst:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Worst(*(max(a, b) for a, b in pairs))


NONE = Worst(0.0, 0.0, 0.0)


def worst(
    x: np.ndarray,
    t: np.ndarray,
    hz: float,
    *,
    low: Any,
    high: Any,
    velocity: Any,
    acceleration: Any,
) -> Worst:
    """Of setpoints x (T, A) at times t (T,) that begin at rest.

    A setpoint that follows a pause does so from rest.
    """
    if len(x) < 2:
        return NONE
    middle, half = (np.asarray(low) + high) / 2, (np.asarray(high) - low) / 2
    v = np.diff(x, axis=0) * hz
    before = np.concatenate([np.zeros((1, x.shape[1])), v[:-1]])
    before[np.diff(t) > rest_after(hz)] = 0
    a = (v - before) * hz
    largest = [np.abs(y).max() for y in ((x - middle) / half, v / velocity, a / acceleration)]
    return Worst(*map(float, largest))


def records(log: Path) -> list[dict[str, Any]]:
    """What the recorder of a BadRobot wrote."""
    if not log.exists():
        return []
    whole = log.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def judged(log: Path, hz: float, begin: float = 0.0) -> Worst:
    """What the motors of a BadRobot were sent, from one reset that moved it to the next.

    After a robot has moved itself, the first setpoint has to be where it stands.
    """
    import bad_robot

    found, x, t, start = NONE, list[Any](), list[float](), None
    limits = {"low": bad_robot.LOW, "high": bad_robot.HIGH, "velocity": bad_robot.VELOCITY}
    for r in [*records(log), {"kind": "reset ends", "moved": True, "at": None}]:
        if r["kind"] == "made" or (r["kind"] == "reset ends" and r["moved"]):
            found |= worst(
                np.array(x), np.array(t), hz, acceleration=bad_robot.ACCELERATION, **limits
            )
            x, t, start = [], [], r["at"]
        if r["kind"] == "command" and r["action"] is not None:
            if start is not None and not x:
                assert np.abs(np.array(r["action"]) - start).max() < 1e-2, (
                    f"it does not start where it is: {r}"
                )
            x.append(r["action"])
            t.append(r["t"])
    return found


def at_rest(log: Path) -> bool:
    """Whether the motors were last sent the same twice."""
    sent = [r["action"] for r in records(log) if r["kind"] == "command"]
    return len(sent) > 5 and sent[-1] == sent[-2]
