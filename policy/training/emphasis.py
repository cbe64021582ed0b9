"""How often windows are learnt from: by who acted, and by how their episode ended."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Generator, Tensor

from ...demos.store import DemoStore
from ...demos.windows import Windows
from ...envs import ConfigError, DataError
from ...envs.errors import names
from ...envs.robot import SOURCES

MOST = 1e6  # times that a window may be drawn for one of another
ENDINGS = {"success": True, "failure": False, "unjudged": None}


def require_emphasis(emphasis: Mapping[str, float]) -> None:
    """Raise ConfigError where a word or a number says nothing of how often to learn."""
    valid = (*SOURCES, *ENDINGS)
    for word, times in emphasis.items():
        if word not in valid:
            raise ConfigError(f"emphasis: {word!r} is no source or ending; valid: {names(valid)}")
        is_number = isinstance(times, int | float) and not isinstance(times, bool)
        if not is_number or not 0 <= times <= MOST:
            raise ConfigError(f"emphasis.{word} must be a number from 0 to {MOST:g}, not {times!r}")


def weigh_windows(
    store: DemoStore, windows: Windows, emphasis: Mapping[str, float]
) -> np.ndarray | None:
    """Return how often each window (W,) is drawn, beside others; None where all are alike.

    It is the product of what is said of who acts at its own frame, and of how its episode ended.
    DataError where no window is left.
    """
    if not emphasis:
        return None
    of_source = np.array([emphasis.get(word, 1.0) for word in SOURCES])
    of_ending = {ended: emphasis.get(word, 1.0) for word, ended in ENDINGS.items()}
    of_episode = np.array([of_ending[success] for success in store.success])
    episodes = np.searchsorted(store.ends, windows.frames, side="right")
    weights = of_source[store.sources()[windows.frames]] * of_episode[episodes]
    if not weights.any():
        raise DataError(f"{store.path}: emphasis={dict(emphasis)} leaves nothing to learn from")
    return weights


class RowDraw:
    """Draws windows at random, as often as their weights (W,) say; None: all alike."""

    def __init__(self, count: int, weights: np.ndarray | None, device: torch.device) -> None:
        self._count = count
        self._device = device
        self._ends = None
        if weights is not None:
            ends = np.cumsum(weights / weights.sum())
            self._ends = torch.from_numpy(ends / ends[-1]).to(device)

    def draw(self, count: int, generator: Generator) -> Tensor:
        """Return rows (count,)."""
        if self._ends is None:
            return torch.randint(self._count, (count,), generator=generator, device=self._device)
        u = torch.rand(count, generator=generator, device=self._device, dtype=torch.float64)
        return torch.searchsorted(self._ends, u, right=True)
