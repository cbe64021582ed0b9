"""Findings of the dataset doctor, and how masks over frames become them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something wrong. episode, frame: where it begins, counted from 0; None where it concerns the whole."""

    level: Level
    key: str
    message: str
    episode: int | None = None
    frame: int | None = None


@dataclass(frozen=True)
class Report:
    """Makes Findings about one array out of masks (N,) over the frames of episodes that end at `ends` (E,).

    numbers: (E,) what the episodes are called, where they are not all of a store.
    """

    ends: np.ndarray
    key: str
    numbers: np.ndarray | None = None

    def __call__(self, level: Level, bad: np.ndarray, message: str) -> Iterator[Finding]:
        """At most one Finding, at the first bad frame, that counts the frames and episodes."""
        frames = np.flatnonzero(bad)
        if not len(frames):
            return
        episodes = np.searchsorted(self.ends, frames, side="right")
        first = int(episodes[0])
        start = int(self.ends[first - 1]) if first else 0
        counted = f"{count(len(frames), 'frame')} in {count(len(np.unique(episodes)), 'episode')}: "
        number = first if self.numbers is None else int(self.numbers[first])
        yield Finding(level, self.key, counted + message, number, int(frames[0]) - start)

    def episodes(self, level: Level, bad: np.ndarray, message: str) -> Iterator[Finding]:
        """At most one Finding about whole episodes, out of a mask (E,) that marks them."""
        found = np.flatnonzero(bad)
        if len(found):
            number = int(found[0] if self.numbers is None else self.numbers[found[0]])
            yield Finding(level, self.key, f"{count(len(found), 'episode')} {message}", number)


def count(n: int, what: str) -> str:
    """`n` of something in words."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
