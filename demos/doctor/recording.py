"""Recording: the numbers of the sound episodes of a store, scaled, as the doctor compares them over time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ...envs import Field
from ..episode import ACTION, TIME
from ..store import DemoStore
from .findings import Report

NARROW = 0.02  # an element's range counts as at least so much of the widest of its array
COARSE = 4.0  # steps of up to so many times the least possible one may come from a coarse sensor at slow motion
SMOOTH = 0.7  # change of the step from frame to frame over the step: that of motions is at most 0.5, of noise 1.6


@dataclass(frozen=True, eq=False)
class Channel:
    """One array of a store, or one field of its actions, (N, size). key: what Findings call it."""

    key: str
    field: Field
    values: np.ndarray
    commanded: bool = False


def channels(store: DemoStore) -> list[Channel]:
    """Every array of numbers of a store, observations first; no pictures."""
    actions = store.array(ACTION)
    out = [
        Channel(key, field, store.array(key).reshape(store.frames, field.size))
        for key, field in store.spec.observations.items()
        if not field.is_image
    ]
    for key, part in store.spec.slices().items():
        name = key if key == ACTION else f"{ACTION}.{key}"
        out.append(Channel(name, store.spec.actions[key], actions[:, part], commanded=True))
    return out


@dataclass(frozen=True, eq=False)
class Stream:
    """A channel over time.

    raw: (N, size) as stored; values: (N, D) without the jumps of angles that wrap, 1 is the usual range; step: (N,)
    distance from the frame before, 0 at the first of an episode; smooth: it moves on from where it was, unlike noise.
    """

    key: str
    field: Field
    commanded: bool
    raw: np.ndarray
    values: np.ndarray
    step: np.ndarray
    smooth: bool

    def at(self, frames: np.ndarray) -> Stream:
        """These frames alone."""
        return replace(
            self, raw=self.raw[frames], values=self.values[frames], step=self.step[frames]
        )


@dataclass(frozen=True, eq=False)
class Recording:
    """E episodes of N frames in all, without those that hold broken numbers: they are reported, and spoil comparisons.

    time: (N,) [s]; numbers: (E,) what the store calls the episodes; starts, ends: (E,) their first frames, and the
    frames after their last.
    """

    hz: float
    time: np.ndarray
    numbers: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    streams: tuple[Stream, ...]

    @classmethod
    def of(cls, store: DemoStore, given: Iterable[Channel], bad: np.ndarray) -> Recording:
        """The episodes of a store without bad frames (N,)."""
        lengths = np.diff(store.ends, prepend=0)
        sound = ~np.logical_or.reduceat(bad, store.ends - lengths)
        keep, ends = np.repeat(sound, lengths), np.cumsum(lengths[sound])
        starts = ends - lengths[sound]
        streams = tuple(_stream(channel, keep, starts) for channel in given if sound.any())
        return cls(
            store.spec.policy_hz,
            store.array(TIME)[keep],
            np.flatnonzero(sound),
            starts,
            ends,
            streams,
        )

    def __len__(self) -> int:
        """E, the number of episodes."""
        return len(self.ends)

    @property
    def frames(self) -> int:
        """N, the frames of all episodes."""
        return int(self.ends[-1]) if len(self) else 0

    @property
    def lengths(self) -> np.ndarray:
        """(E,) frames of each episode."""
        return self.ends - self.starts

    @property
    def observed(self) -> list[Stream]:
        """What the robot measured."""
        return [s for s in self.streams if not s.commanded]

    @property
    def commanded(self) -> list[Stream]:
        """What it was told."""
        return [s for s in self.streams if s.commanded]

    @property
    def robot(self) -> list[Stream]:
        """Return commands and their measurements; all that is observed where nothing is known."""
        measured = {stream.field.measured_by for stream in self.commanded} - {""}
        own = []
        for stream in self.streams:
            known = stream.field.measured_by if stream.commanded else stream.key in measured
            if known:
                own.append(stream)
        return own or self.observed

    def measuring(self, commanded: Stream) -> list[Stream]:
        """Return what measures a command; all that is observed where no command is measured."""
        known = [stream.field.measured_by for stream in self.commanded]
        if any(known):
            source = commanded.field.measured_by
            return [stream for stream in self.observed if stream.key == source]
        return [stream for stream in self.observed if stream.field.kind != "discrete"]

    def report(self, key: str) -> Report:
        """A Report about its frames and episodes."""
        return Report(self.ends, key, self.numbers)

    def follows(self) -> np.ndarray:
        """(N,) False at the first frame of each episode."""
        out = np.ones(self.frames, bool)
        out[self.starts] = False
        return out

    def runs(self, mask: np.ndarray) -> np.ndarray:
        """(R, 2) first frame, and frame after the last, of every unbroken row of marked frames within an episode."""
        follows = self.follows()
        first = mask & ~(np.roll(mask, 1) & follows)
        last = mask & ~np.roll(mask & follows, -1)
        return np.stack([np.flatnonzero(first), np.flatnonzero(last) + 1], axis=1)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean of values (N, ...) over each episode, (E, ...)."""
        lengths = self.lengths.reshape(-1, *[1] * (values.ndim - 1))
        return np.add.reduceat(values.astype(float), self.starts, axis=0) / lengths

    def marked(self, episodes: np.ndarray) -> np.ndarray:
        """(E,) True at these episodes."""
        return np.isin(np.arange(len(self)), episodes)

    def part(self, episodes: np.ndarray, first: int, last: int) -> tuple[Recording, np.ndarray]:
        """Some episodes without their `first` first and `last` last frames, and where those frames were, (n,)."""
        starts, ends = self.starts[episodes] + first, self.ends[episodes] - last
        frames = np.concatenate([np.arange(0), *map(np.arange, starts, ends)])
        inner, lengths = np.cumsum(ends - starts), ends - starts
        streams = tuple(s.at(frames) for s in self.streams)
        return Recording(
            self.hz, self.time[frames], self.numbers[episodes], inner - lengths, inner, streams
        ), frames


def _stream(channel: Channel, keep: np.ndarray, starts: np.ndarray) -> Stream:
    raw = channel.values[keep]
    values = scaled(channel.field, raw.astype(float))
    moved = moves(values, starts)
    step = np.linalg.norm(moved, axis=1)
    smooth = channel.field.kind != "discrete" and _smooth(moved, step, starts)
    return Stream(channel.key, channel.field, channel.commanded, raw, values, step, smooth)


def _smooth(moved: np.ndarray, step: np.ndarray, starts: np.ndarray) -> bool:
    changed = np.linalg.norm(np.diff(moved, axis=0), axis=1)
    moving = step[1:] > usual(step) / 4
    moving[starts[starts > 0] - 1] = False
    return bool(moving.any() and np.median(changed[moving]) < SMOOTH * np.median(step[1:][moving]))


def moves(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Change of values (N, D) from the frame before, 0 where an episode starts."""
    out = np.diff(values, axis=0, prepend=values[:1])
    out[starts] = 0
    return out


def scaled(field: Field, values: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Numbers that move steadily where the quantity does, (N, D), in units of their usual range or that of `like`."""
    if field.kind == "angle":
        return np.hstack([np.cos(values), np.sin(values)]) / 2
    if field.kind == "quaternion":
        return (values[:, :, None] * values[:, None]).reshape(
            len(values), 16
        )  # q and -q are one rotation
    like = values if like is None else like
    spread = np.ptp(np.quantile(like, [0.01, 0.99], axis=0), axis=0)
    spread = np.where(spread > 0, spread, np.ptp(like, axis=0))
    spread = np.maximum(spread, NARROW * spread.max(initial=0.0))
    return values / np.where(spread > 0, spread, 1.0)


def usual(step: np.ndarray) -> float:
    """A step that is motion, not jitter at rest; infinite where nothing moves."""
    moving = step[step > 0]
    return (
        max(float(np.median(moving)), float(np.quantile(moving, 0.99)) / 10)
        if len(moving)
        else np.inf
    )


def least(step: np.ndarray) -> float:
    """The shortest of the steps that are any: of a coarse sensor, its resolution."""
    return float(step[step > 0].min(initial=np.inf))
