"""Augmentation: pictures and states of a batch changed at random, on the device that trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...envs import ConfigError, Spec
from ..networks.encoders.pictures import crop_size, prepare, to_floats

# Red, green and blue to luma and two axes of colour, in whose plane hue is an angle (NTSC, 1953).
TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


@dataclass(frozen=True)
class AugmentationConfig:
    """How far a batch is changed; a policy that acts sees the middle of pictures as they are."""

    crop: bool = True  # a part at random in place of the middle, the same in all of a history
    brightness: float = 0.0  # most by which a picture becomes darker or brighter, as a share
    contrast: float = 0.0  # most by which it becomes flatter or starker, as a share
    saturation: float = 0.0  # most by which it becomes greyer or more colourful, as a share
    hue: float = 0.0  # most by which its colours turn, as a share of the whole circle
    state_noise: float = 0.0  # deviation of noise on states, whose range is 2

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "hue", "state_noise"):
            if not 0 <= getattr(self, name) <= 1:
                value = getattr(self, name)
                raise ConfigError(f"augment.{name} must lie between 0 and 1, not {value:g}")


def augment(
    batch: Mapping[str, Tensor],
    spec: Spec,
    config: AugmentationConfig,
    crop: float,
    generator: Generator,
) -> dict[str, Tensor]:
    """Return a batch whose pictures are cropped and coloured at random.

    Each sample is changed in its own way, all pictures of its history alike. Pictures
    (B, P, h, w, 3) uint8 become prepared ones (B, P, 3, h', w'); all else stays.

    crop: share of height and width that is seen.
    """
    changed = dict(batch)
    for camera in spec.images:
        pictures = batch[camera]
        if pictures.is_floating_point():
            continue  # maps, made before
        changed[camera] = augment_pictures(pictures, config, crop, generator)
    return changed


def augment_pictures(
    pictures: Tensor, config: AugmentationConfig, crop: float, generator: Generator
) -> Tensor:
    """Return prepared pictures (B, P, 3, h', w'), changed at random, of (B, P, h, w, 3) uint8."""
    if config.crop:
        seen = to_floats(crop_at_random(pictures, crop, generator))
    else:
        seen = prepare(pictures, crop)
    return colour(seen, config, generator)


def crop_at_random(pictures: Tensor, crop: float, generator: Generator) -> Tensor:
    """Return a part (B, P, h', w', 3) of pictures (B, P, h, w, 3), one place for each sample."""
    count, frames, height, width, _ = pictures.shape
    seen_height, seen_width = crop_size(height, width, crop)
    device = pictures.device
    tops = torch.randint(height - seen_height + 1, (count, 1), generator=generator, device=device)
    lefts = torch.randint(width - seen_width + 1, (count, 1), generator=generator, device=device)
    rows = tops + torch.arange(seen_height, device=device)  # (B, h')
    columns = lefts + torch.arange(seen_width, device=device)  # (B, w')
    samples = torch.arange(count, device=device).view(-1, 1, 1, 1)
    steps = torch.arange(frames, device=device).view(1, -1, 1, 1)
    return pictures[samples, steps, rows[:, None, :, None], columns[:, None, None, :]]


def colour(pictures: Tensor, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Return pictures (B, P, 3, h, w) in [0, 1] with other colours, one change for each sample."""
    if config.hue or config.saturation:
        matrices = _turn_colours(pictures, config, generator)
        pictures = torch.einsum("bij,bpjhw->bpihw", matrices, pictures)
    if config.brightness:
        pictures = pictures * _draw_factors(pictures, config.brightness, generator)
    if config.contrast:
        mean = pictures.mean((1, 2, 3, 4), keepdim=True)
        pictures = mean + (pictures - mean) * _draw_factors(pictures, config.contrast, generator)
    return pictures.clamp(0, 1)


def _turn_colours(pictures: Tensor, config: AugmentationConfig, generator: Generator) -> Tensor:
    """Return matrices (B, 3, 3) that turn the hue and stretch the saturation."""
    to_yiq = torch.tensor(TO_YIQ, device=pictures.device)
    angle = 2 * torch.pi * config.hue * _draw(pictures, generator)
    stretch = 1 + config.saturation * _draw(pictures, generator)
    change = torch.zeros(len(pictures), 3, 3, device=pictures.device)
    change[:, 0, 0] = 1
    change[:, 1, 1] = stretch * angle.cos()
    change[:, 1, 2] = -stretch * angle.sin()
    change[:, 2, 1] = stretch * angle.sin()
    change[:, 2, 2] = stretch * angle.cos()
    return torch.linalg.inv(to_yiq) @ change @ to_yiq


def _draw_factors(pictures: Tensor, most: float, generator: Generator) -> Tensor:
    return (1 + most * _draw(pictures, generator)).view(-1, 1, 1, 1, 1)


def _draw(pictures: Tensor, generator: Generator) -> Tensor:
    """Draw a number in [-1, 1] for each sample (B,)."""
    uniform = torch.rand(len(pictures), generator=generator, device=generator.device)
    return 2 * uniform.to(pictures.device) - 1
