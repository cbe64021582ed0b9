"""Two chunks that ask no policy: keep still, and do what was done in the nearest situation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ...demos.store import DemoStore
from ...demos.windows import Windows, make_windows
from ..policy import Policy

HERE = 1024  # situations that are compared at once
THERE = 2**14  # windows to which they are compared at once


def hold_chunks(store: DemoStore, actions: np.ndarray, windows: Windows) -> np.ndarray:
    """Return chunks (W, H, A) that keep what is measured at the frame of each window.

    The store's Spec says what measures an action. Where nothing does, the action before that frame
    is kept; before the first frame of an episode none was sent, and the first one stands in, in
    favour of this reference. Differences are zero.

    Args:
        store: The demonstrations.
        actions: All recorded actions (N, A).
        windows: W of them.
    """
    before = np.maximum(windows.frames - 1, windows.starts)
    kept = np.array(actions[before])
    for key, place in store.spec.slices().items():
        field = store.spec.actions[key]
        if field.relative:
            kept[:, place] = 0
        elif field.measured_by:
            measured = store.array(field.measured_by)[windows.frames]
            kept[:, place] = measured.reshape(len(windows), field.size)
    return np.repeat(kept[:, None], windows.horizon, axis=1)


def nearest_chunks(
    policy: Policy,
    ends: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    episodes: np.ndarray,
    windows: Windows,
) -> np.ndarray:
    """Return for each window the recorded chunk (W, H, A) of the nearest one of other episodes.

    Nearest is the history of states, normalised as the policy sees it.

    Args:
        policy: With states.
        ends: Where the episodes of the store end (E,).
        arrays: Its states, and "action" (N, A).
        episodes: Those that are not looked at.
        windows: W of them.
    """
    config = policy.config
    every = make_windows(ends, config.observation_steps, config.horizon)
    starts = np.concatenate([[0], ends])[episodes]
    others = every.select(~np.isin(every.starts, starts))
    nearest = np.empty(len(windows), np.int64)
    for first in range(0, len(windows), HERE):
        rows = np.arange(first, min(first + HERE, len(windows)))
        here = _encode_history(policy, arrays, windows, rows)
        nearest[rows] = _find_nearest(policy, arrays, here, others)
    return arrays["action"][others.chunk(nearest)]


def _find_nearest(
    policy: Policy, arrays: Mapping[str, np.ndarray], here: Tensor, others: Windows
) -> np.ndarray:
    """Return which of the other windows is nearest to each situation `here` (B, D)."""
    smallest = torch.full((len(here),), torch.inf)
    nearest = torch.zeros(len(here), dtype=torch.long)
    for first in range(0, len(others), THERE):
        rows = np.arange(first, min(first + THERE, len(others)))
        there = _encode_history(policy, arrays, others, rows)
        found = torch.cdist(here, there).min(1)
        closer = found.values < smallest
        smallest = torch.where(closer, found.values, smallest)
        nearest = torch.where(closer, found.indices + first, nearest)
    return nearest.numpy()


def _encode_history(
    policy: Policy, arrays: Mapping[str, np.ndarray], windows: Windows, rows: np.ndarray
) -> Tensor:
    """Return the states of some windows, normalised and laid end to end (B, D)."""
    frames = windows.history(rows)
    history = {key: torch.from_numpy(arrays[key][frames]) for key in policy.spec.states}
    return policy.normaliser.encode_states(history).flatten(1)
