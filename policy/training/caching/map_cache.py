"""What a frozen backbone makes of every picture, computed once and mapped into memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from ....envs import DataError
from ....envs.atomic_files import new_file
from ...networks.encoders.observation import ObservationEncoder
from ...networks.encoders.pictures import prepare
from ..augmentation import AugmentationConfig, augment_pictures
from .image_cache import CachedImages

TOGETHER = 128  # pictures that go through the backbone at once
FORMAT = 1  # of a file, which its name stands for


class CachedMaps:
    """Maps (N, V, channels, h, w) float16 of V views of each of N pictures, mapped into memory.

    The first view is what acting sees, the others are changed at random.
    """

    def __init__(self, maps: np.ndarray) -> None:
        self._maps = maps
        self.shape = maps.shape

    @property
    def views(self) -> int:
        """Return V."""
        return self.shape[1]

    def read(self, frames: np.ndarray, views: np.ndarray) -> Tensor:
        """Return maps (B, P, channels, h, w) of frames (B, P), seen in one of the views (B,)."""
        return torch.from_numpy(self._maps[frames, views[:, None]].astype(np.float32))


def cache_maps(
    folder: Path,
    camera: str,
    pictures: CachedImages,
    encoder: ObservationEncoder,
    config: AugmentationConfig,
    views: int,
    *,
    on_frames: Callable[[str, int, int], None] = lambda camera, done, total: None,
) -> CachedMaps:
    """Return the backbone's maps of pictures in `views` views beside the one that acting sees.

    They are kept in `folder`, and are the same again for the same pictures, weights and settings.
    on_frames: is given the camera, how many pictures are done, and of how many. Raises DataError
    where the disk has no room.
    """
    height, width, channels = _measure(camera, pictures, encoder)
    shape = (len(pictures), 1 + views, channels, height, width)
    path = folder / f"{camera}-{_digest(camera, pictures, encoder, config, views)}.maps"
    size = 2 * int(np.prod(shape))
    if not path.is_file() or path.is_symlink() or path.stat().st_size != size:
        path.unlink(missing_ok=True)
        _require_room(folder, camera, size)
        with new_file(path) as beside:
            maps = np.memmap(beside, np.float16, "w+", shape=shape)
            for start, block in _compute(camera, pictures, encoder, config, views):
                maps[start : start + len(block)] = block
                on_frames(camera, start + len(block), len(pictures))
            maps.flush()
    return CachedMaps(np.asarray(np.memmap(path, np.float16, "r", shape=shape)))


@torch.no_grad()
def _compute(
    camera: str,
    pictures: CachedImages,
    encoder: ObservationEncoder,
    config: AugmentationConfig,
    views: int,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first frame of a block of pictures, and its maps (n, 1 + views, ...)."""
    backbone = encoder.encoder_of(camera).backbone
    crop = encoder.config.crop
    device = next(encoder.parameters()).device
    for start in range(0, len(pictures), TOGETHER):
        frames = np.arange(start, min(start + TOGETHER, len(pictures)))
        block = torch.from_numpy(pictures[frames[:, None]]).to(device)  # (n, 1, h, w, 3)
        seen = [prepare(block, crop)]
        for view in range(views):
            generator = Generator(device).manual_seed(start * (1 + views) + view)
            seen.append(augment_pictures(block, config, crop, generator))
        maps: list[Tensor] = []
        for changed in seen:
            maps.append(backbone(encoder.centre(changed[:, 0])))
        yield start, torch.stack(maps, 1).half().cpu().numpy()


@torch.no_grad()
def _measure(
    camera: str, pictures: CachedImages, encoder: ObservationEncoder
) -> tuple[int, int, int]:
    """Return height, width and channels of the backbone's maps."""
    device = next(encoder.parameters()).device
    first = torch.from_numpy(pictures[np.zeros(1, int)]).to(device)
    maps = encoder.encoder_of(camera).backbone(prepare(first, encoder.config.crop))
    return maps.shape[2], maps.shape[3], maps.shape[1]


def _digest(
    camera: str,
    pictures: CachedImages,
    encoder: ObservationEncoder,
    config: AugmentationConfig,
    views: int,
) -> str:
    """Return what stands for the pictures, the weights, and how both meet."""
    digest = sha256()
    facts = [FORMAT, views, asdict(config), asdict(encoder.config), TOGETHER, pictures.shape]
    digest.update(json.dumps(facts).encode())
    for tensor in encoder.encoder_of(camera).backbone.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    for start in range(0, len(pictures), TOGETHER):
        block = pictures[np.arange(start, min(start + TOGETHER, len(pictures)))]
        digest.update(block.tobytes())
    return digest.hexdigest()[:24]


def _require_room(folder: Path, camera: str, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(
            f"what the frozen encoder makes of {camera} takes {size / 1e9:.3g} GB in {folder}, "
            f"where {free / 1e9:.3g} GB are free; fewer views= take less"
        )
