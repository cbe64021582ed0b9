"""Who acted at each frame of a store; one of before, or one that was imported, does not say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr

from ..episode import SOURCE_FORMAT, Episode
from .zarr_store import create_array, find_array, read_frames, write_end

NAME = "meta/source"


class FrameSources:
    """`meta/source` (N,), made with the first episode that says who acted."""

    def __init__(self, path: Path, group: zarr.Group) -> None:
        self._path = path
        self._group = group

    def read(self, ranges: Sequence[tuple[int, int]]) -> np.ndarray:
        """Return the numbers of SOURCES for some ranges of the recorded frames, end to end."""
        array = self._find() if NAME in self._group else None
        parts: list[np.ndarray] = []
        for first, last in ranges:
            part = np.zeros(last - first, SOURCE_FORMAT.dtype)
            if array is not None:
                found = read_frames(self._path, array, first, last)
                part[: len(found)] = found  # whoever wrote the rest did not say
            parts.append(part)
        return np.concatenate(parts)

    def append(self, start: int, episodes: Sequence[Episode]) -> None:
        """Write those of new episodes, whose frames begin at `start`."""
        if NAME not in self._group:
            if all(episode.source is None for episode in episodes):
                return
            create_array(self._group, NAME, SOURCE_FORMAT)
        parts = [episode.sources for episode in episodes]
        write_end(self._find(), start, np.concatenate(parts))

    def _find(self) -> zarr.Array:
        return find_array(self._path, self._group, NAME)
