"""Demonstrations to train on: windows over mapped arrays, never all of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...demos.store import DemoStore
from ...demos.windows import Windows, make_windows, split_episodes
from ...envs import DataError, Spec
from ...envs.errors import names
from ..normaliser import Normaliser
from ..policy import PolicyConfig
from .mapped_arrays import map_arrays


class Samples(Protocol):
    """What a batch is drawn from."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """Return samples `rows` (B,): observations (B, O, ...) and "action" (B, H, A)."""
        ...


class WindowSamples:
    """Windows over arrays of frames, moved to a device batch by batch."""

    def __init__(
        self, arrays: Mapping[str, np.ndarray], chosen: Windows, device: torch.device
    ) -> None:
        """Sample arrays[key] (N, ...), the actions among them, in the chosen windows."""
        self._arrays = arrays
        self._windows = chosen
        self._device = device

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._windows)

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """Return samples `rows` (B,): observations (B, O, ...) and "action" (B, H, A)."""
        numbers = rows.cpu().numpy()
        history = self._windows.history(numbers)
        chunk = self._windows.chunk(numbers)
        batch: dict[str, Tensor] = {}
        for key, array in self._arrays.items():
            frames = chunk if key == "action" else history
            batch[key] = torch.from_numpy(array[frames]).to(self._device)
        return batch


class TensorSamples:
    """Samples that lie side by side in memory."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Sample tensors[key] (W, ...) as they are."""
        self._tensors = tensors

    def __len__(self) -> int:
        """Return W."""
        return len(self._tensors["action"])

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """Return samples `rows` (B,): observations, "action" (B, H, A), and all else."""
        return {key: tensor[rows] for key, tensor in self._tensors.items()}


@dataclass(frozen=True)
class Dataset:
    """Samples to train and to validate on, and what describes them."""

    spec: Spec
    normaliser: Normaliser
    train: Samples
    held_out: Samples | None
    shapes: Mapping[str, tuple[int, ...]]  # of the arrays that are sampled


def read_dataset(
    path: Path | str,
    config: PolicyConfig,
    device: torch.device,
    *,
    held_out: float = 0.0,
    seed: int = 0,
    log: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Open the fields of a DemoStore that a policy of this description reads.

    held_out: share of episodes, drawn by `seed`, to validate on. log: is told in one line which
    fields are used and which are not, and why. Raises DataError where there is nothing to learn.
    """
    store = DemoStore.open(path)
    store.require()
    spec = replace(store.spec, observations=store.spec.states)
    if not spec.observations:
        raise DataError(
            f"{path} holds images only: a policy needs at least one observation of another kind"
        )
    kept, held = split_episodes(len(store), held_out, seed)
    every = make_windows(store.ends, config.observation_steps, config.horizon, config.action_steps)
    train = _select_episodes(every, store.ends, kept)
    if not len(train):
        raise DataError(f"{path}: no episode is left to train on with held_out={held_out:g}")
    log(describe_fields(store.spec))
    arrays = map_arrays(store, [*spec.observations, "action"])
    normaliser = Normaliser.fit(spec, arrays, store.ends)
    rest = _select_episodes(every, store.ends, held)
    return Dataset(
        spec,
        normaliser,
        WindowSamples(arrays, train, device),
        WindowSamples(arrays, rest, device) if len(rest) else None,
        {key: array.shape for key, array in arrays.items()},
    )


def describe_fields(spec: Spec) -> str:
    """Return one line on the fields that training uses and those that it leaves out."""
    used = spec.states
    line = f"trains on {names(used)}"
    left_out = spec.observations.keys() - used.keys()
    if left_out:
        line += f"; leaves out {names(left_out)}: no encoder here reads images"
    return line


def _select_episodes(every: Windows, ends: np.ndarray, episodes: np.ndarray) -> Windows:
    """Return the windows of some episodes, given by their numbers."""
    starts = np.concatenate([[0], ends])[episodes]
    return every.select(np.isin(every.starts, starts))
