"""Recording: the numbers of the sound episodes of a store, which the doctor compares over time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..episode import TIME
from ..store import DemoStore
from .findings import Report
from .signals import Channel, Signal, make_signal


@dataclass(frozen=True, eq=False)
class Recording:
    """E episodes of N frames in all.

    Those that hold broken numbers are left out: they are reported, and spoil comparisons.

    time: (N,) [s]; numbers: (E,) what the store calls the episodes; starts, ends: (E,) their first
    frames, and the frames after their last.
    """

    hz: float
    time: np.ndarray
    numbers: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    signals: tuple[Signal, ...]

    @classmethod
    def from_store(
        cls, store: DemoStore, channels: Iterable[Channel], bad: np.ndarray
    ) -> Recording:
        """Return the episodes of a store without bad frames (N,)."""
        lengths = np.diff(store.ends, prepend=0)
        sound = ~np.logical_or.reduceat(bad, store.ends - lengths)
        keep = np.repeat(sound, lengths)
        ends = np.cumsum(lengths[sound])
        starts = ends - lengths[sound]
        signals = []
        if sound.any():
            signals = [make_signal(channel, keep, starts) for channel in channels]
        time = store.array(TIME)[keep]
        numbers = np.flatnonzero(sound)
        return cls(store.spec.policy_hz, time, numbers, starts, ends, tuple(signals))

    def __len__(self) -> int:
        """Return E, the number of episodes."""
        return len(self.ends)

    @property
    def frames(self) -> int:
        """Return N, the frames of all episodes."""
        return int(self.ends[-1]) if len(self) else 0

    @property
    def lengths(self) -> np.ndarray:
        """Return the frames of each episode, (E,)."""
        return self.ends - self.starts

    @property
    def observed(self) -> list[Signal]:
        """Return what the robot measured."""
        return [signal for signal in self.signals if not signal.commanded]

    @property
    def commanded(self) -> list[Signal]:
        """Return what it was told."""
        return [signal for signal in self.signals if signal.commanded]

    @property
    def robot(self) -> list[Signal]:
        """Return commands and their measurements; all that is observed where nothing is known."""
        measured = {signal.field.measured_by for signal in self.commanded} - {""}
        own = []
        for signal in self.signals:
            known = signal.field.measured_by if signal.commanded else signal.key in measured
            if known:
                own.append(signal)
        return own or self.observed

    def measuring(self, commanded: Signal) -> list[Signal]:
        """Return what measures a command; all that is observed where no command is measured."""
        known = [signal.field.measured_by for signal in self.commanded]
        if any(known):
            source = commanded.field.measured_by
            return [signal for signal in self.observed if signal.key == source]
        return [signal for signal in self.observed if signal.field.kind != "discrete"]

    def report(self, key: str) -> Report:
        """Return a Report about its frames and episodes."""
        return Report(self.ends, key, self.numbers)

    def no_frames(self) -> np.ndarray:
        """Return a mask (N,) that marks nothing."""
        return np.zeros(self.frames, bool)

    def follows(self) -> np.ndarray:
        """Return (N,), False at the first frame of each episode."""
        mask = np.ones(self.frames, bool)
        mask[self.starts] = False
        return mask

    def find_runs(self, mask: np.ndarray) -> np.ndarray:
        """Return every unbroken row of marked frames within an episode, (R, 2).

        That is its first frame, and the frame after its last.
        """
        follows = self.follows()
        first = mask & ~(np.roll(mask, 1) & follows)
        last = mask & ~np.roll(mask & follows, -1)
        return np.stack([np.flatnonzero(first), np.flatnonzero(last) + 1], axis=1)

    def episode_means(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of values (N, ...) over each episode, (E, ...)."""
        lengths = self.lengths.reshape(-1, *[1] * (values.ndim - 1))
        return np.add.reduceat(values.astype(float), self.starts, axis=0) / lengths

    def total_step(self, signals: Iterable[Signal]) -> np.ndarray:
        """Return how far all these signals step together, (N,)."""
        total = np.zeros(self.frames)
        for signal in signals:
            total = total + signal.step
        return total

    def mark_episodes(self, episodes: np.ndarray) -> np.ndarray:
        """Return (E,), True at these episodes."""
        return np.isin(np.arange(len(self)), episodes)

    def cut(self, episodes: np.ndarray, first: int, last: int) -> tuple[Recording, np.ndarray]:
        """Return some episodes without their first and last frames, and where the rest was (n,)."""
        starts = self.starts[episodes] + first
        ends = self.ends[episodes] - last
        spans = [np.arange(start, end) for start, end in zip(starts, ends, strict=True)]
        frames = np.concatenate([np.arange(0), *spans])
        lengths = ends - starts
        new_ends = np.cumsum(lengths)
        part = Recording(
            self.hz,
            self.time[frames],
            self.numbers[episodes],
            new_ends - lengths,
            new_ends,
            tuple(signal.at(frames) for signal in self.signals),
        )
        return part, frames
