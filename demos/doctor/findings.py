"""Findings of the dataset doctor, and how masks over frames become them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something wrong. places: episode, and frame where it begins in it or None; none where it concerns the whole."""

    level: Level
    key: str
    message: str
    places: tuple[tuple[int, int | None], ...] = ()

    @property
    def episode(self) -> int | None:
        """Where it begins, counted from 0."""
        return self.places[0][0] if self.places else None

    @property
    def frame(self) -> int | None:
        """Where in that episode."""
        return self.places[0][1] if self.places else None


@dataclass(frozen=True)
class Report:
    """Makes Findings about one array out of masks (N,) over the frames of episodes that end at `ends` (E,).

    numbers: (E,) what the episodes are called, where they are not all of a store.
    """

    ends: np.ndarray
    key: str
    numbers: np.ndarray | None = None

    def __call__(self, level: Level, bad: np.ndarray, message: str) -> Iterator[Finding]:
        """At most one Finding, that counts the frames and episodes."""
        frames = np.flatnonzero(bad)
        if not len(frames):
            return
        episodes, first = np.unique(
            np.searchsorted(self.ends, frames, side="right"), return_index=True
        )
        begins = frames[first] - np.array([0, *self.ends])[episodes]
        counted = f"{count(len(frames), 'frame')} in {count(len(episodes), 'episode')}: "
        yield Finding(
            level,
            self.key,
            counted + message,
            tuple(zip(self._called(episodes), begins.tolist(), strict=True)),
        )

    def episodes(self, level: Level, bad: np.ndarray, message: str) -> Iterator[Finding]:
        """At most one Finding about whole episodes, out of a mask (E,) that marks them."""
        found = np.flatnonzero(bad)
        if len(found):
            places = tuple((number, None) for number in self._called(found))
            yield Finding(level, self.key, f"{count(len(found), 'episode')} {message}", places)

    def _called(self, episodes: np.ndarray) -> list[int]:
        return (episodes if self.numbers is None else self.numbers[episodes]).tolist()


def count(n: int, what: str) -> str:
    """`n` of something in words."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
