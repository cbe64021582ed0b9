"""The mean of chunks that want the same at the same moments."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .angles import shorter_way
from .chunk import Chunk
from .errors import ConfigError, names
from .interpolation import interpolate
from .spec import Field, Spec

FADING = 0.9  # of the weight of a chunk, for each policy's period of its age


class Averaging:
    """Makes a plan of each new chunk: its mean with the chunks before it that agree.

    Two chunks agree where the root mean square of their differences, over all that they have in
    common, is at most `agreement`, a share of the actions' ranges. A chunk that does not agree does
    not count: the mean of two ways around an obstacle would lead into it, so two ways must lie
    further apart than that. The older a chunk, the less it weighs. Discrete actions are those of
    the new one.
    """

    def __init__(self, spec: Spec, agreement: float) -> None:
        require_agreement(agreement, spec)
        self._spec = spec
        self._agreement = agreement
        self._ranges = _ranges(spec)
        self._compared = self._ranges > 0
        actions = {key: replace(field, relative=False) for key, field in spec.actions.items()}
        self._mixed = replace(spec, actions=actions)  # differences are averaged, and not chosen
        self._chunks: list[Chunk] = []  # the newest last

    def join(self, newest: Chunk) -> Chunk:
        """Return what is planned with a chunk; those of another episode are forgotten."""
        self._chunks = [chunk for chunk in self._chunks if self._counts(chunk, newest)]
        actions = newest.actions.copy()
        weights = np.ones((len(actions), 1))
        for chunk in reversed(self._chunks):
            count = chunk.remaining(newest.time)
            old = chunk.following(newest.time, self._spec)[:count]
            if self._agree(newest.actions[:count], old):
                weight = FADING ** ((newest.time - chunk.time) / newest.dt)
                weights[:count] += weight
                share = weight / weights[:count]
                actions[:count] = interpolate(self._mixed, actions[:count], old, share)
        self._chunks.append(newest)
        return replace(newest, actions=actions)

    def _counts(self, chunk: Chunk, newest: Chunk) -> bool:
        """Return whether a chunk before the newest has actions for the same moments."""
        is_before = chunk.episode == newest.episode and chunk.time <= newest.time
        return is_before and chunk.remaining(newest.time) > 0

    def _agree(self, newest: np.ndarray, old: np.ndarray) -> bool:
        """Return whether actions (n, A) of the same moments are alike."""
        old = interpolate(self._mixed, newest, old, 1.0)  # of two signs of a rotation the nearer
        apart = shorter_way(old - newest, self._spec.angle_mask())[:, self._compared]
        shares = apart / self._ranges[self._compared]
        return bool(np.sqrt(np.mean(np.square(shares))) <= self._agreement)


def require_agreement(agreement: float, spec: Spec) -> None:
    """Raise ConfigError where this is no share, or actions have no range of which it is one."""
    if not 0 <= agreement <= 1:
        raise ConfigError(f"agreement must be a share from 0 to 1, not {agreement}")
    if not agreement:
        return
    endless = []
    for key, field in spec.actions.items():
        if not np.isfinite(_range(field)).all():
            endless.append(key)
    if endless:
        raise ConfigError(
            f"agreement is a share of the actions' ranges: give {names(endless)} a low and a high "
            "with `fewstep spec`, or set model.agreement=0"
        )
    if not _ranges(spec).any():
        raise ConfigError("agreement has nothing to compare: discrete actions are not averaged")


def _ranges(spec: Spec) -> np.ndarray:
    """Return the range (A,) of each action; 0 where it is not compared."""
    return np.concatenate([_range(field) for field in spec.actions.values()])


def _range(field: Field) -> np.ndarray:
    if field.kind == "discrete":
        return np.zeros(field.size)
    if field.kind == "quaternion":
        return np.full(field.size, 2.0)
    if field.low and field.high:
        return np.subtract(field.high, field.low)
    return np.full(field.size, 2 * math.pi if field.kind == "angle" else math.inf)
