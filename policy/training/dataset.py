"""Demonstrations to train on: windows over mapped arrays, never all of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from ...demos.store import DemoStore
from ...demos.windows import Windows, make_windows, split_episodes
from ...envs import ConfigError, DataError, Spec
from ...envs.errors import names, pick
from ..networks.encoders.observation import ObservationEncoder
from ..normaliser import Normaliser
from ..policy import Policy, PolicyConfig
from .augmentation import AugmentationConfig
from .caching.image_cache import CachedImages, cache_folder, cache_images, needed_bytes
from .caching.map_cache import CachedMaps, cache_maps
from .caching.mapped_arrays import map_arrays
from .emphasis import weigh_windows

OnFrames = Callable[[str, int, int], None]  # is given a camera, pictures done, and of how many


class Samples(Protocol):
    """What a batch is drawn from."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batch(self, rows: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
        """Return samples `rows` (B,): observations (B, O, ...) and "action" (B, H, A).

        "recorded" (B, H, 1) says which of the actions were, where some were not. generator: draws
        what training sees of them; without it, it is what acting sees.
        """
        ...


class WindowSamples:
    """Windows over arrays of frames, moved to a device batch by batch."""

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        pictures: Mapping[str, CachedImages | CachedMaps],
        frames: int,
        chosen: Windows,
        device: torch.device,
    ) -> None:
        """Sample arrays[key] (N, ...), the actions among them, in the chosen windows.

        pictures: of each camera, or their maps, of which the newest `frames` of a history are
        sampled.
        """
        self._arrays = arrays
        self._pictures = pictures
        self._frames = frames
        self._windows = chosen
        self._device = device

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._windows)

    def seeing(self, pictures: Mapping[str, CachedMaps]) -> WindowSamples:
        """Return the same windows with maps in place of pictures."""
        return WindowSamples(self._arrays, pictures, self._frames, self._windows, self._device)

    def batch(self, rows: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
        """Return samples `rows` (B,): observations (B, O, ...), "action" (B, H, A), "recorded".

        generator: draws the views in which maps are seen; without it, it is what acting sees.
        """
        numbers = rows.cpu().numpy()
        history = self._windows.history(numbers)
        chunk = self._windows.chunk(numbers)
        recorded = torch.from_numpy(self._windows.recorded(numbers)[..., None])
        batch: dict[str, Tensor] = {"recorded": recorded.to(self._device)}
        for key, array in self._arrays.items():
            frames = chunk if key == "action" else history
            batch[key] = torch.from_numpy(array[frames]).to(self._device)
        for camera, pictures in self._pictures.items():
            newest = history[:, -self._frames :]
            if isinstance(pictures, CachedMaps):
                seen = pictures.read(newest, _draw_views(len(rows), pictures.views, generator))
            else:
                seen = torch.from_numpy(pictures[newest])
            batch[camera] = seen.to(self._device)
        return batch


class TensorSamples:
    """Samples that lie side by side in memory."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Sample tensors[key] (W, ...) as they are."""
        self._tensors = tensors

    def __len__(self) -> int:
        """Return W."""
        return len(self._tensors["action"])

    def batch(self, rows: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
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
    pictures: Mapping[str, CachedImages] = field(default_factory=dict)  # of every camera
    weights: np.ndarray | None = None  # how often each sample to train on is drawn; None: alike


def _draw_views(count: int, views: int, generator: Generator | None) -> np.ndarray:
    """Draw for each sample a view (count,) that is changed at random; the first, if none draws."""
    if generator is None or views == 1:
        return np.zeros(count, int)
    device = generator.device
    return torch.randint(1, views, (count,), generator=generator, device=device).cpu().numpy()


def read_dataset(
    path: Path | str,
    config: PolicyConfig,
    device: torch.device,
    *,
    states: Sequence[str] | None = None,
    cameras: Sequence[str] | None = None,
    known: Spec | None = None,
    held_out: float = 0.0,
    seed: int = 0,
    emphasis: Mapping[str, float] | None = None,
    on_frames: OnFrames = lambda camera, done, total: None,
    log: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Open the fields of a DemoStore that a policy of this description reads.

    states, cameras: fields to learn from, by default all. known: of a policy that is there already,
    whose fields are taken, as far as the store has them, in place of these. held_out: share of
    episodes, drawn by `seed`, to validate on. emphasis: as `TrainConfig` says. on_frames: is told
    how many pictures are cached. log: is told in one line each what is used and left out, and what
    it takes. Raises DataError where there is nothing to learn from, and ConfigError for fields that
    the store has not.
    """
    store = DemoStore.open(path)
    store.require()
    spec = _find_spec(store.spec, states, cameras, known)
    kept, held = split_episodes(len(store), held_out, seed)
    every = make_windows(store.ends, config.observation_steps, config.horizon)
    train = _select_episodes(every, store.ends, kept)
    if not len(train):
        raise DataError(f"{path}: no episode is left to train on with held_out={held_out:g}")
    log(describe_fields(store.spec, spec))
    with torch.device("meta"):
        Policy(spec, config)  # what cannot be built is refused before pictures are decoded
    arrays = map_arrays(store, [*spec.states, "action"])
    images = config.encoders.images
    pictures = cache_images(store, list(spec.images), images.side, on_frames=on_frames, log=log)
    if pictures:
        log(_describe_cache(store, list(pictures), images.side))
    normaliser = Normaliser.fit(spec, arrays, store.ends, config.differences)
    shapes = {key: tuple(array.shape) for key, array in [*arrays.items(), *pictures.items()]}
    rest = _select_episodes(every, store.ends, held)

    def sample(chosen: Windows) -> WindowSamples:
        return WindowSamples(arrays, pictures, images.frames, chosen, device)

    held_out_samples = sample(rest) if len(rest) else None
    weights = weigh_windows(store, train, emphasis or {})
    return Dataset(spec, normaliser, sample(train), held_out_samples, shapes, pictures, weights)


def with_maps(
    dataset: Dataset,
    folder: Path,
    encoder: ObservationEncoder,
    augmentation: AugmentationConfig,
    views: int,
    on_frames: OnFrames = lambda camera, done, total: None,
) -> Dataset:
    """Return a dataset whose pictures are what the frozen backbones of `encoder` make of them.

    folder: where these maps are kept. views: in which each picture is seen, changed at random,
    beside the view that acting has.
    """
    maps: dict[str, CachedMaps] = {}
    for camera, pictures in dataset.pictures.items():
        maps[camera] = cache_maps(
            folder, camera, pictures, encoder, augmentation, views, on_frames=on_frames
        )
    held_out = dataset.held_out
    assert isinstance(dataset.train, WindowSamples)
    if isinstance(held_out, WindowSamples):
        held_out = held_out.seeing(maps)
    return replace(dataset, train=dataset.train.seeing(maps), held_out=held_out)


def _find_spec(
    spec: Spec, states: Sequence[str] | None, cameras: Sequence[str] | None, known: Spec | None
) -> Spec:
    """Return what is learnt from: what is chosen, or what a policy knows already."""
    if known is None:
        return choose_fields(spec, states, cameras)
    return keep_fields(spec, known.observations)


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
    return keep_fields(spec, chosen + seen)


def keep_fields(spec: Spec, kept: Collection[str]) -> Spec:
    """Return a Spec with those of its observations that are kept, in its own order.

    An action that was measured by another one is measured by none.
    """
    observations = {}
    for key, observed in spec.observations.items():
        if key in kept:
            observations[key] = observed
    actions = {}
    for key, action in spec.actions.items():
        is_measured = action.measured_by in observations
        actions[key] = action if is_measured else replace(action, measured_by="")
    return replace(spec, observations=observations, actions=actions)


def describe_fields(all_of: Spec, used: Spec) -> str:
    """Return one line on the fields that training uses and those that it leaves out."""
    line = f"trains on {names(used.states)}" if used.states else "trains on no state"
    if used.images:
        line += f", sees {names(used.images)}"
    left_out = all_of.observations.keys() - used.observations.keys()
    if left_out:
        line += f"; leaves out {names(left_out)}"
    return line


def _describe_cache(store: DemoStore, cameras: Sequence[str], side: int) -> str:
    """Return one line on the disk that pictures take."""
    size = needed_bytes(store, cameras, side)
    taken = f"{size / 1e9:.3g} GB" if size > 1e9 else f"{size / 1e6:.3g} MB"
    folder = cache_folder(store.path)
    return f"pictures take {taken} in {folder} and are read from there as they are needed"


def _select_episodes(every: Windows, ends: np.ndarray, episodes: np.ndarray) -> Windows:
    """Return the windows of some episodes, given by their numbers."""
    starts = np.concatenate([[0], ends])[episodes]
    return every.select(np.isin(every.starts, starts))
