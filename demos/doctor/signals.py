"""The arrays of a store, and how they move over time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...envs import Field
from ..episode import ACTION
from ..store import DemoStore

NARROW = 0.02  # an element's range counts as at least so much of the widest of its array
COARSE = 4.0  # steps up to so many times the least may come from a coarse sensor at slow motion
SMOOTH = 0.7  # change of the step over the step: that of motions is at most 0.5, of noise 1.6


@dataclass(frozen=True, eq=False)
class Channel:
    """One array of a store, or one field of its actions, (N, size). key: what Findings call it."""

    key: str
    field: Field
    values: np.ndarray
    commanded: bool = False


def list_channels(store: DemoStore) -> list[Channel]:
    """Return every array of numbers of a store, observations first; no pictures."""
    channels = []
    for key, field in store.spec.states.items():
        values = store.array(key).reshape(store.frames, field.size)
        channels.append(Channel(key, field, values))
    actions = store.array(ACTION)
    for key, part in store.spec.slices().items():
        name = key if key == ACTION else f"{ACTION}.{key}"
        field = store.spec.actions[key]
        channels.append(Channel(name, field, actions[:, part], commanded=True))
    return channels


@dataclass(frozen=True, eq=False)
class Signal:
    """A channel over time.

    raw: (N, size) as stored; values: (N, D) without the jumps of angles that wrap, 1 is the usual
    range; step: (N,) distance from the frame before, 0 at the first of an episode; smooth: it moves
    on from where it was, unlike noise.
    """

    key: str
    field: Field
    commanded: bool
    raw: np.ndarray
    values: np.ndarray
    step: np.ndarray
    smooth: bool

    def at(self, frames: np.ndarray) -> Signal:
        """Return these frames alone."""
        raw = self.raw[frames]
        return replace(self, raw=raw, values=self.values[frames], step=self.step[frames])


def make_signal(channel: Channel, keep: np.ndarray, starts: np.ndarray) -> Signal:
    """Return the kept frames (N,) of a channel. starts: the first of them in each episode."""
    raw = channel.values[keep]
    values = scale_values(channel.field, raw.astype(float))
    change = frame_changes(values, starts)
    step = np.linalg.norm(change, axis=1)
    smooth = channel.field.kind != "discrete" and _is_smooth(change, step, starts)
    return Signal(channel.key, channel.field, channel.commanded, raw, values, step, smooth)


def _is_smooth(change: np.ndarray, step: np.ndarray, starts: np.ndarray) -> bool:
    turn = np.linalg.norm(np.diff(change, axis=0), axis=1)
    moving = step[1:] > usual_step(step) / 4
    moving[starts[starts > 0] - 1] = False
    return bool(moving.any() and np.median(turn[moving]) < SMOOTH * np.median(step[1:][moving]))


def frame_changes(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the change of values (N, D) from the frame before, 0 where an episode starts."""
    change = np.diff(values, axis=0, prepend=values[:1])
    change[starts] = 0
    return change


def scale_values(field: Field, values: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Return numbers that move steadily where the quantity does, (N, D).

    They are in units of their usual range, or of that of `like`.
    """
    if field.kind == "angle":
        return np.hstack([np.cos(values), np.sin(values)]) / 2
    if field.kind == "quaternion":  # q and -q are one rotation
        return (values[:, :, None] * values[:, None]).reshape(len(values), 16)
    like = values if like is None else like
    spread = usual_range(like)
    spread = np.where(spread > 0, spread, np.ptp(like, axis=0))
    spread = np.maximum(spread, NARROW * spread.max(initial=0.0))
    return values / np.where(spread > 0, spread, 1.0)


def usual_range(values: np.ndarray) -> np.ndarray:
    """Return the range of each element of values (N, D), but for its outermost hundredths."""
    return np.ptp(np.quantile(values, [0.01, 0.99], axis=0), axis=0)


def usual_step(step: np.ndarray) -> float:
    """Return a step that is motion, not jitter at rest; infinite where nothing moves."""
    moving = step[step > 0]
    if not len(moving):
        return np.inf
    return max(float(np.median(moving)), float(np.quantile(moving, 0.99)) / 10)


def least_step(step: np.ndarray) -> float:
    """Return the shortest of the steps that are any: of a coarse sensor, its resolution."""
    return float(step[step > 0].min(initial=np.inf))
