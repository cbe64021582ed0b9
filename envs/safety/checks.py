"""What a robot has given, and what it is asked for, checked before anything is made of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import RobotError
from ..robot import Obs, Outcome
from ..spec import Spec


def age_of(spec: Spec, obs: Obs, now: float) -> float:
    """Return the age of the oldest stream at `now` [s]."""
    oldest = min(obs.time, now)
    for key in spec.observations:
        oldest = min(oldest, obs.stamps.get(key, obs.time))
    return now - oldest


def is_usable(action: np.ndarray, size: int) -> bool:
    """Return whether an action is so many numbers."""
    return action.shape == (size,) and bool(np.isfinite(action).all())


def require_sent(told: Any, size: int) -> None:
    """Raise RobotError where `command` returned anything but the action that was sent."""
    if np.shape(told) != (size,):
        raise RobotError(f"command() returned {told!r}, not the {size} numbers that it sent")


def require_outcome(outcome: object) -> None:
    """Raise RobotError where `outcome` returned anything else."""
    if not isinstance(outcome, Outcome | None):
        raise RobotError(f"outcome() returned {outcome!r}, no Outcome")
