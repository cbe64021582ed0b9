"""Demonstrations to train on: windows over mapped arrays, never all of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...demos.store import DemoStore
from ...demos.windows import Windows, make_windows, split_episodes
from ...envs import ConfigError, DataError, Spec
from ...envs.errors import names, pick
from ..normaliser import Normaliser
from ..policy import PolicyConfig
from .image_cache import CachedImages, cache_images
from .mapped_arrays import map_arrays

OnFrames = Callable[[str, int, int], None]  # is given a camera, pictures done, and of how many


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
        self,
        arrays: Mapping[str, np.ndarray],
        pictures: Mapping[str, CachedImages],
        frames: int,
        chosen: Windows,
        device: torch.device,
    ) -> None:
        """Sample arrays[key] (N, ...), the actions among them, in the chosen windows.

        pictures: of each camera, of which the newest `frames` of a history are sampled.
        """
        self._arrays = arrays
        self._pictures = pictures
        self._frames = frames
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
        for camera, pictures in self._pictures.items():
            newest = pictures[history[:, -self._frames :]]
            batch[camera] = torch.from_numpy(newest).to(self._device)
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
    states: Sequence[str] | None = None,
    cameras: Sequence[str] | None = None,
    held_out: float = 0.0,
    seed: int = 0,
    on_frames: OnFrames = lambda camera, done, total: None,
    log: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Open the fields of a DemoStore that a policy of this description reads.

    states, cameras: fields to learn from, by default all. held_out: share of episodes, drawn by
    `seed`, to validate on. on_frames: is told how many pictures are cached. log: is told in one
    line each what is used and left out, and what it takes. Raises DataError where there is nothing
    to learn from, and ConfigError for fields that the store has not.
    """
    store = DemoStore.open(path)
    store.require()
    spec = choose_fields(store.spec, states, cameras)
    kept, held = split_episodes(len(store), held_out, seed)
    every = make_windows(store.ends, config.observation_steps, config.horizon, config.action_steps)
    train = _select_episodes(every, store.ends, kept)
    if not len(train):
        raise DataError(f"{path}: no episode is left to train on with held_out={held_out:g}")
    log(describe_fields(store.spec, spec))
    arrays = map_arrays(store, [*spec.states, "action"])
    images = config.encoders.images
    pictures = cache_images(store, list(spec.images), images.side, on_frames=on_frames, log=log)
    normaliser = Normaliser.fit(spec, arrays, store.ends)
    shapes: dict[str, tuple[int, ...]] = {}
    for key, array in [*arrays.items(), *pictures.items()]:
        shapes[key] = tuple(array.shape)
    rest = _select_episodes(every, store.ends, held)

    def sample(chosen: Windows) -> WindowSamples:
        return WindowSamples(arrays, pictures, images.frames, chosen, device)

    return Dataset(spec, normaliser, sample(train), sample(rest) if len(rest) else None, shapes)


def choose_fields(
    spec: Spec, states: Sequence[str] | None = None, cameras: Sequence[str] | None = None
) -> Spec:
    """Return a Spec with some of its states and cameras, by default all; ConfigError for others."""
    chosen = [*spec.states] if states is None else [*states]
    for key in chosen:
        pick(spec.states, key, "state")
    seen = [*spec.images] if cameras is None else [*cameras]
    for key in seen:
        pick(spec.images, key, "camera")
    if not chosen + seen:
        raise ConfigError("states and cameras are both empty: there is nothing to learn from")
    observations = {}
    for key, field in spec.observations.items():
        if key in chosen or key in seen:
            observations[key] = field
    return replace(spec, observations=observations)


def describe_fields(all_of: Spec, used: Spec) -> str:
    """Return one line on the fields that training uses and those that it leaves out."""
    line = f"trains on {names(used.states)}" if used.states else "trains on no state"
    if used.images:
        line += f", sees {names(used.images)}"
    left_out = all_of.observations.keys() - used.observations.keys()
    if left_out:
        line += f"; leaves out {names(left_out)}"
    return line


def _select_episodes(every: Windows, ends: np.ndarray, episodes: np.ndarray) -> Windows:
    """Return the windows of some episodes, given by their numbers."""
    starts = np.concatenate([[0], ends])[episodes]
    return every.select(np.isin(every.starts, starts))
