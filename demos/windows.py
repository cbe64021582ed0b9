"""Windows: which frames make one training sample, as clamped indices."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..envs import ConfigError, DataError


@dataclass(frozen=True)
class Windows:
    """N samples; their frame indices are computed for those that are asked for."""

    frames: np.ndarray  # (N,) each sample's own frame
    starts: np.ndarray  # (N,) first frame of its episode
    ends: np.ndarray  # (N,) frame after the last of its episode
    observation_steps: int  # O
    horizon: int  # H

    def __len__(self) -> int:
        """Return N, the number of samples."""
        return len(self.frames)

    def history(self, rows: np.ndarray) -> np.ndarray:
        """Return the frames of observations (B, O) of samples `rows` (B,), up to their own frame.

        Before an episode's first frame its first is repeated, as the Agent does.
        """
        steps = np.arange(1 - self.observation_steps, 1)
        return np.maximum(self.frames[rows, None] + steps, self.starts[rows, None])

    def chunk(self, rows: np.ndarray) -> np.ndarray:
        """Return the frames of actions (B, H) of samples `rows` (B,), from their own frame on.

        Past an episode's last frame its last is repeated.
        """
        steps = np.arange(self.horizon)
        return np.minimum(self.frames[rows, None] + steps, self.ends[rows, None] - 1)

    def recorded(self, rows: np.ndarray) -> np.ndarray:
        """Return which actions (B, H) of the chunks of samples `rows` (B,) were recorded."""
        return self.frames[rows, None] + np.arange(self.horizon) < self.ends[rows, None]

    def select(self, kept: np.ndarray) -> Windows:
        """Return the samples that are kept (N,), a mask."""
        return replace(
            self, frames=self.frames[kept], starts=self.starts[kept], ends=self.ends[kept]
        )


def make_windows(ends: np.ndarray, observation_steps: int, horizon: int) -> Windows:
    """Return a window for every frame of episodes that end (exclusively) at `ends` (E,).

    So a policy sees the last moments of a demonstration, too. Raises DataError where there is no
    frame.
    """
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    counts = ends - starts
    if not counts.sum():
        raise DataError("there is no frame to learn from")
    start_of_each = np.repeat(starts, counts)
    end_of_each = np.repeat(ends, counts)
    windows_before = np.repeat(np.cumsum(counts) - counts, counts)
    frames = start_of_each + np.arange(counts.sum()) - windows_before
    return Windows(frames, start_of_each, end_of_each, observation_steps, horizon)


def split_episodes(episodes: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the episodes to train on and those held out, a share of them drawn by `seed`."""
    if not 0 <= held_out <= 1:
        raise ConfigError(f"held_out must lie between 0 and 1, not {held_out}")
    order = np.random.default_rng(seed).permutation(episodes)
    count = round(held_out * episodes)
    return np.sort(order[count:]), np.sort(order[:count])
