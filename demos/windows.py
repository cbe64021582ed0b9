"""Windows: which frames make one training sample, as clamped indices."""

from dataclasses import dataclass

import numpy as np

from ..envs import ConfigError, DataError


@dataclass(frozen=True)
class Windows:
    """Frame indices of every sample: history (N, O), which ends at the window's own frame; chunk (N, H) from it on."""

    history: np.ndarray
    chunk: np.ndarray

    def __len__(self) -> int:
        """N, the number of samples."""
        return len(self.history)


def windows(ends: np.ndarray, observation_steps: int, horizon: int, action_steps: int) -> Windows:
    """Every window of episodes that end (exclusively) at `ends` (E,).

    Before an episode's first frame its first is repeated, as the Agent does; past its last frame the last action is
    repeated, at most action_steps - 1 times.
    """
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    counts = np.maximum(0, ends - starts - horizon + action_steps)
    if not counts.sum():
        raise DataError(
            f"no episode is long enough for a chunk of {horizon} with action_steps={action_steps}: "
            f"the longest has {int((ends - starts).max(initial=0))} frames"
        )
    start, end = np.repeat(starts, counts)[:, None], np.repeat(ends, counts)[:, None]
    first = np.concatenate([s + np.arange(n) for s, n in zip(starts, counts, strict=True)])[:, None]
    history = np.maximum(first + np.arange(1 - observation_steps, 1), start)
    return Windows(history, np.minimum(first + np.arange(horizon), end - 1))


def split(episodes: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the episodes to train on and of those held out, a fraction drawn by `seed`."""
    if not 0 <= held_out <= 1:
        raise ConfigError(f"held_out must lie between 0 and 1, not {held_out}")
    order = np.random.default_rng(seed).permutation(episodes)
    n = round(held_out * episodes)
    return np.sort(order[n:]), np.sort(order[:n])
