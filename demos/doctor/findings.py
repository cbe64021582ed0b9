"""Findings of the dataset doctor, and how masks over frames become them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

Level = Literal["error", "warning"]
Place = tuple[int, int | None]  # episode, and frame where it begins in it


@dataclass(frozen=True)
class Finding:
    """Something wrong.

    places: where it begins; none where it concerns the whole, without a frame where it concerns a
    whole episode.
    """

    level: Level
    key: str
    message: str
    places: tuple[Place, ...] = ()

    @property
    def episode(self) -> int | None:
        """Return the first episode in which it is, counted from 0."""
        return self.places[0][0] if self.places else None

    @property
    def frame(self) -> int | None:
        """Return where it begins in that episode."""
        return self.places[0][1] if self.places else None


@dataclass(frozen=True)
class Report:
    """Makes Findings about one array out of masks over the N frames of E episodes.

    ends: (E,) the frame after the last of each; numbers: (E,) what the episodes are called, where
    they are not all of a store.
    """

    ends: np.ndarray
    key: str
    numbers: np.ndarray | None = None

    def __call__(self, level: Level, bad: np.ndarray, message: str) -> Iterator[Finding]:
        """Yield at most one Finding about marked frames (N,), that counts them and episodes."""
        frames = np.flatnonzero(bad)
        if not len(frames):
            return
        in_episode = np.searchsorted(self.ends, frames, side="right")
        episodes, first = np.unique(in_episode, return_index=True)
        begins = frames[first] - np.array([0, *self.ends])[episodes]
        places = tuple(zip(self._called(episodes), begins.tolist(), strict=True))
        counted = f"{count(len(frames), 'frame')} in {count(len(episodes), 'episode')}: "
        yield Finding(level, self.key, counted + message, places)

    def episodes(self, level: Level, bad: np.ndarray, message: str) -> Iterator[Finding]:
        """Yield at most one Finding about marked episodes (E,)."""
        found = np.flatnonzero(bad)
        if len(found):
            places = tuple((number, None) for number in self._called(found))
            yield Finding(level, self.key, f"{count(len(found), 'episode')} {message}", places)

    def _called(self, episodes: np.ndarray) -> list[int]:
        if self.numbers is None:
            return episodes.tolist()
        return self.numbers[episodes].tolist()


def count(number: int, what: str) -> str:
    """Return how many of something there are, in words."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
