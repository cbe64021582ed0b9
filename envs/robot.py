"""The Robot protocol: simulated tasks and hardware drivers both satisfy it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .clock import Clock
from .errors import RobotError, names
from .spec import Spec


@dataclass(frozen=True)
class Obs:
    """The latest sample of every stream.

    time: of this observation [s, robot's clock]; data: arrays in robot units, as Spec.observations
    says; stamps: when each stream was really measured [s, robot's clock]. A simulation may draw a
    picture when it is first read, which has to be before time goes on.
    """

    time: float
    data: Mapping[str, np.ndarray]
    stamps: Mapping[str, float]


def measured_action(spec: Spec, obs: Obs) -> np.ndarray:
    """Return what is measured of each action element (A,), NaN where nothing measures it."""
    parts = []
    for key, f in spec.actions.items():
        if f.measured_by and f.measured_by not in obs.data:
            raise RobotError(
                f"action {key!r} is measured by {f.measured_by!r}, which is not observed"
            )
        if f.measured_by:
            parts.append(np.asarray(obs.data[f.measured_by], float).ravel())
        else:
            parts.append(np.full(f.size, np.nan))
    return np.concatenate(parts)


def whole(spec: Spec, obs: Obs, latest: float) -> Obs:
    """Return the observation, where it is what the Spec says, in numbers.

    RobotError where it is not, or where anything in it is stamped after `latest` [s].
    """
    if not isinstance(obs, Obs):
        raise RobotError(f"observe() returned {obs!r}, no Obs")
    for key, f in spec.observations.items():
        if key not in obs.data:
            raise RobotError(f"{key!r} is missing; there is {names(obs.data)}")
        shape = np.shape(obs.data[key])
        if shape != f.shape:
            raise RobotError(f"{key!r} has shape {shape}, the Spec says {f.shape}")
        if not f.is_image and not np.isfinite(obs.data[key]).all():
            raise RobotError(f"{key!r} holds what is no number")
        stamp = obs.stamps.get(key, obs.time)
        if not (obs.time <= latest and stamp <= latest):
            raise RobotError(
                f"{key!r} is stamped {stamp:.2f} at {obs.time:.2f}, "
                "which the robot's clock has not reached"
            )
    return obs


SOURCES = ("unknown", "policy", "operator", "expert")  # who acts; whoever else does is unknown


@dataclass(frozen=True)
class Command:
    """What an actor wants now.

    action: (A,) in robot units, or None where there is nothing fresh: hold.
    source: who wants it, one of SOURCES or a word of the actor's own.
    """

    action: np.ndarray | None
    source: str


def source_number(source: str) -> int:
    """Return the number of a source among SOURCES."""
    return SOURCES.index(source) if source in SOURCES else 0


@dataclass(frozen=True)
class Outcome:
    """How an episode ended.

    success: None where nobody judged it; score: largest reward seen; why: what ended it, in words.
    """

    success: bool | None
    score: float = float("nan")
    why: str = ""


@dataclass(frozen=True)
class Step:
    """One tick of the control loop: what was seen, wanted and really sent."""

    obs: Obs
    intended: Command
    sent: np.ndarray  # (A,)
    lateness: float  # [s] of the tick


class Robot(Protocol):
    """A thing with sensors and actuators, and a clock of its own."""

    @property
    def spec(self) -> Spec:
        """What the robot measures and accepts."""
        ...

    @property
    def clock(self) -> Clock:
        """The robot's own time."""
        ...

    def reset(self, seed: int | None = None) -> None:
        """Bring about a start state.

        Blocks until ready. A simulated robot starts the same from the same seed.
        What it does on hardware passes no limits: it may come to a pose, and may as well do
        nothing.
        """
        ...

    def observe(self) -> Obs:
        """The latest sample.

        Asking twice changes nothing. Hardware is asked before its first `reset`.
        """
        ...

    def command(self, command: Command) -> np.ndarray:
        """Latch a command, return at once with the action (A,) really sent.

        None holds the position.
        """
        ...

    def outcome(self) -> Outcome | None:
        """None while the episode runs, or where a person has to judge it."""
        ...

    def close(self) -> None:
        """Leave the robot safe; may be called again."""
        ...
