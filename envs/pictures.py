"""Pictures as a network sees them: resized the same way in training and at the robot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from .spec import Spec


def seen_size(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return height and width of a picture (h, w, 3) whose shorter side is brought to `side` [px].

    Its proportions stay; one that is smaller stays as it is.
    """
    height, width = shape[:2]
    scale = min(1.0, side / min(height, width))
    return round(scale * height), round(scale * width)


def resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture (h, w, 3) uint8 at `size` (height, width), smoothed where it shrinks."""
    if picture.shape[:2] == size:
        return picture
    height, width = size
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def as_seen(spec: Spec, side: int) -> Spec:
    """Return a Spec whose pictures have the size that `seen_size` gives them."""
    observations = dict(spec.observations)
    for key, field in spec.images.items():
        observations[key] = replace(field, shape=(*seen_size(field.shape, side), 3))
    return replace(spec, observations=observations)
