"""What a policy sees: pictures as they go into the network, and where in them it looks."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from functools import partial
from io import BytesIO

import numpy as np
import torch
from PIL import Image, ImageDraw

from ...demos.viewer.catalogue import Sight
from ...envs.pictures import resize
from ..networks.encoders.pictures import crop_size, prepare
from ..networks.encoders.pools import mean_places
from ..policy import Policy

MOMENTS = 5  # of an episode that a page shows, from each camera
ENLARGED = 3  # so that a mark hides little of a picture
RADIUS = 4  # of a mark [px of the enlarged picture]
COLOUR = (255, 122, 0)


def draw_sight(policy: Policy, camera: str, pictures: Iterable[np.ndarray]) -> list[str]:
    """Return what `mark_sight` returns as PNG in base64."""
    return [_encode_png(image) for image in mark_sight(policy, camera, pictures)]


@torch.no_grad()
def mark_sight(policy: Policy, camera: str, pictures: Iterable[np.ndarray]) -> list[Image.Image]:
    """Return a camera's pictures (h, w, 3) uint8 as the network sees them, enlarged.

    A mark stands wherever the encoder's pool looks; it is the fainter the less certain the pool is.
    """
    height, width, _ = policy.seen.images[camera].shape
    resized = np.stack([resize(picture, (height, width)) for picture in pictures])
    prepared = prepare(torch.from_numpy(resized), policy.config.encoders.images.crop)
    places, certainty = find_places(policy, camera, prepared)
    seen = (255 * prepared).round().to(torch.uint8).movedim(-3, -1).numpy()
    drawn: list[Image.Image] = []
    for picture, marks, weights in zip(seen, places, certainty, strict=True):
        drawn.append(_mark(picture, marks, weights))
    return drawn


def find_sights(policy: Policy) -> list[Sight]:
    """Return how a policy sees each of its cameras, to be shown by `fewstep view`."""
    sights: list[Sight] = []
    for camera, field in policy.seen.images.items():
        height, width, _ = field.shape
        cropped = crop_size(height, width, policy.config.encoders.images.crop)
        enlarged = (ENLARGED * cropped[0], ENLARGED * cropped[1])
        draw = partial(_draw_stored, policy, camera)
        sights.append(Sight(camera, f"{camera}, as seen", enlarged, draw))
    return sights


def _draw_stored(policy: Policy, camera: str, picture: np.ndarray) -> np.ndarray:
    return np.asarray(mark_sight(policy, camera, [picture])[0])


def find_places(
    policy: Policy, camera: str, prepared: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the pool looks in prepared pictures (n, 3, h, w), and how certain it is.

    Places are (n, K, 2), x and y [px]; certainty (n, K) goes from 0, everywhere alike, to 1.
    """
    encoder = policy.encoder.encoder_of(camera)
    attention = encoder.attention(policy.encoder.centre(prepared))  # (n, K, h', w')
    rows, columns = attention.shape[2:]
    across, down = mean_places(attention).chunk(2, -1)
    x = ((across + 1) / 2 * (columns - 1) + 0.5) * encoder.stride
    y = ((down + 1) / 2 * (rows - 1) + 0.5) * encoder.stride
    uniform = 1 / (rows * columns)
    certainty = (attention.flatten(2).amax(-1) - uniform) / (1 - uniform)
    return torch.stack([x, y], -1).numpy(), certainty.numpy()


def _mark(picture: np.ndarray, places: np.ndarray, certainty: np.ndarray) -> Image.Image:
    height, width = picture.shape[:2]
    size = (ENLARGED * width, ENLARGED * height)
    image = Image.fromarray(picture).resize(size, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image, "RGBA")
    for (x, y), weight in zip(ENLARGED * places, certainty, strict=True):
        box = (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)
        draw.ellipse(box, outline=(*COLOUR, int(255 * weight)), width=2)
    return image


def _encode_png(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "PNG")
    return b64encode(file.getvalue()).decode()
