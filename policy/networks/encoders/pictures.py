"""From pictures in a store or from a camera to what an image encoder takes."""

from __future__ import annotations

from torch import Tensor


def crop_size(height: int, width: int, crop: float) -> tuple[int, int]:
    """Return height and width of what is seen of a picture, a share `crop` of each side."""
    return round(crop * height), round(crop * width)


def prepare(pictures: Tensor, crop: float) -> Tensor:
    """Return the middle of pictures (..., h, w, 3) uint8 as floats (..., 3, h', w') in [0, 1]."""
    height, width = pictures.shape[-3:-1]
    seen_height, seen_width = crop_size(height, width, crop)
    top = (height - seen_height) // 2
    left = (width - seen_width) // 2
    middle = pictures[..., top : top + seen_height, left : left + seen_width, :]
    return to_floats(middle)


def to_floats(pictures: Tensor) -> Tensor:
    """Return pictures (..., h, w, 3) uint8 as floats (..., 3, h, w) in [0, 1]."""
    return pictures.movedim(-1, -3).float() / 255
