"""What a policy would have done in recorded situations: chunks that nobody acts on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...demos.store import DemoStore
from ...demos.windows import Windows
from ...envs import Spec
from ...envs.pictures import resize
from ..engines.engine import Engine
from ..policy import PolicyConfig
from ..serving.runners import draw_noise

BATCH = 64  # situations that are read and answered together


class HistoryReader:
    """Reads observation histories of a store as an Agent would have sent them."""

    def __init__(
        self, store: DemoStore, seen: Spec, states: Mapping[str, np.ndarray], pictures: int
    ) -> None:
        """Read states from arrays (N, ...) and pictures from the store, at the size of `seen`.

        pictures: of each camera, how many the policy sees, the newest.
        """
        self._newest = pictures
        self._states = {key: states[key] for key in seen.states}
        self._pictures = {camera: store.pictures(camera) for camera in seen.images}
        self._sizes: dict[str, tuple[int, int]] = {}
        for camera, field in seen.images.items():
            height, width, _ = field.shape
            self._sizes[camera] = (height, width)

    def read(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Return obs[key] (B, O, ...), pictures (B, P, ...), of histories of frames (B, O)."""
        obs = {key: array[frames] for key, array in self._states.items()}
        for camera in self._pictures:
            obs[camera] = self.look(camera, frames[:, -self._newest :])
        return obs

    def look(self, camera: str, frames: np.ndarray) -> np.ndarray:
        """Return pictures (..., h, w, 3) uint8 of some frames (...), resized."""
        size = self._sizes[camera]
        different, places = np.unique(frames, return_inverse=True)
        resized = [resize(self._pictures[camera][frame], size) for frame in different]
        return np.stack(resized)[places.reshape(frames.shape)]


def make_asked_windows(ends: np.ndarray, episodes: np.ndarray, config: PolicyConfig) -> Windows:
    """Return the windows of some episodes at which an Agent asks: every `action_steps`-th frame.

    ends: where the episodes of the store end (E,); episodes: positions among them.
    """
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    frames: list[np.ndarray] = []
    for episode in episodes:
        start = int(starts[episode])
        frames.append(np.arange(start, int(ends[episode]), config.action_steps))
    counts = [len(part) for part in frames]
    return Windows(
        np.concatenate(frames),
        np.repeat(starts[episodes], counts),
        np.repeat(ends[episodes], counts),
        config.observation_steps,
        config.horizon,
    )


def predict_chunks(
    engines: Sequence[Engine],
    reader: HistoryReader,
    windows: Windows,
    numbers: np.ndarray,
    seed: int,
    on_windows: Callable[[int, int], None] = lambda done, total: None,
) -> list[np.ndarray]:
    """Return the chunks (W, H, A) of each engine.

    The noise of a window comes from the seed, the number of its episode (W,) and its frame there,
    so that other windows change nothing. on_windows: is told how many are done, and of how many.
    """
    parts: list[list[np.ndarray]] = [[] for _ in engines]
    seeds = _draw_seeds(windows, numbers, seed)
    for first in range(0, len(windows), BATCH):
        rows = np.arange(first, min(first + BATCH, len(windows)))
        obs = reader.read(windows.history(rows))
        for engine, chunks in zip(engines, parts, strict=True):
            noise = np.stack([draw_noise(engine, seeds[row]) for row in rows], 1)
            chunks.append(engine.predict(obs, noise))
        on_windows(first + len(rows), len(windows))
    return [np.concatenate(chunks) for chunks in parts]


def _draw_seeds(windows: Windows, numbers: np.ndarray, seed: int) -> list[int]:
    """Return a seed for the noise of every window."""
    seeds: list[int] = []
    offsets = windows.frames - windows.starts
    for number, offset in zip(numbers.tolist(), offsets.tolist(), strict=True):
        drawn = np.random.SeedSequence([seed, number, offset]).generate_state(1, np.uint64)
        seeds.append(int(drawn[0]) >> 1)  # torch takes 63 bits
    return seeds
