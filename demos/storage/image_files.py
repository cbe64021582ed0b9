"""EncodedImages as files hold them: their size is compared before they are decoded."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ...envs import DataError, caps
from ...envs.errors import names, refusing

if TYPE_CHECKING:
    from PIL.Image import Image


def open_picture(
    content: bytes,
    size: tuple[int, ...] | None,
    formats: tuple[str, ...],
    modes: Sequence[str] = ("RGB",),
    what: str = "the picture",
) -> np.ndarray:
    """Return the pixels (height, width, 3) uint8 RGB of an encoded picture.

    size: (height, width) that it must have, None for any up to caps.PIXELS; modes: of Pillow.
    """
    from PIL import Image

    valid = ", ".join(formats).lower()
    with (
        refusing(DataError, f"cannot decode {what}, valid: {valid}"),
        Image.open(BytesIO(content), formats=formats) as image,
    ):
        _require(image, size, modes, what)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _require(
    image: Image | Any, size: tuple[int, ...] | None, modes: Sequence[str], what: str
) -> None:
    width, height = image.size
    if size is not None and (height, width) != tuple(size):
        raise DataError(f"{what} is {height} x {width} large, in place of {size[0]} x {size[1]}")
    if height * width > caps.PIXELS:
        raise DataError(
            f"{what} has {height} x {width} pixels, at most {caps.PIXELS} are decoded (PIXELS)"
        )
    if image.mode not in modes:
        raise DataError(f"{what} is of mode {image.mode}; valid: {names(modes)}")
