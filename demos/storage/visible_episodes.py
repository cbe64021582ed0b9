"""Which episodes of a store are seen, and where their frames lie among those of all."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np


class VisibleEpisodes:
    """Some of the recorded episodes, end to end as if the others were not there.

    numbers (E,): which of the recorded episodes they are.
    ends (E,): frame after the last of each, counted over those that are seen.
    """

    def __init__(self, recorded_ends: np.ndarray, hidden: Collection[int] = ()) -> None:
        recorded = np.arange(len(recorded_ends))
        self.numbers = recorded[~np.isin(recorded, list(hidden))]
        lengths = np.diff(recorded_ends, prepend=0)[self.numbers]
        self.ends = np.cumsum(lengths)
        self._begins = self.ends - lengths
        self._hidden_before = recorded_ends[self.numbers] - self.ends  # (E,) frames

    def recorded_ranges(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return where frames `start` to `stop` lie among those of all; one range at least."""
        if not self._hidden_before.any():
            return [(start, stop)]
        first = np.searchsorted(self.ends, start, side="right")
        last = np.searchsorted(self._begins, stop)
        ranges: list[tuple[int, int]] = []
        for episode in range(first, last):
            shift = int(self._hidden_before[episode])
            range_start = max(start, int(self._begins[episode]))
            range_stop = min(stop, int(self.ends[episode]))
            ranges.append((range_start + shift, range_stop + shift))
        return ranges or [(0, 0)]
