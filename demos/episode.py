"""Episode: what happened from reset to the end, as arrays of equal length."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..envs import DataError, Field, Spec, caps
from ..envs.errors import names
from ..envs.robot import SOURCES
from .storage.images import EncodedImages

ACTION = "action"
TIME = "time"
SOURCE = "source"  # who acted, where a format has a place for it


class ArrayFormat(NamedTuple):
    """Of an array with a row per frame: the shape of one frame, and the storage type."""

    shape: tuple[int, ...]
    dtype: np.dtype


SOURCE_FORMAT = ArrayFormat((), np.dtype("uint8"))  # of who acted, by the number in SOURCES


def array_formats(spec: Spec) -> dict[str, ArrayFormat]:
    """Return the formats of the arrays of an episode of this Spec.

    They are its observations, "action" (A,) and "time" [s]. DataError for an observation that
    cannot be stored.
    """
    formats: dict[str, ArrayFormat] = {}
    for key, field in spec.observations.items():
        _require_storable(key, field)
        formats[key] = ArrayFormat(field.shape, field.dtype)
    formats[ACTION] = ArrayFormat((spec.action_size,), np.dtype("float32"))
    formats[TIME] = ArrayFormat((), np.dtype("float64"))
    return formats


def _require_storable(key: str, field: Field) -> None:
    if field.size == 0:
        raise DataError(f"observation {key!r} has no elements: its shape is {field.shape}")
    most = 3 * caps.PIXELS if field.is_image else caps.FREE
    if field.size * field.dtype.itemsize > most:
        raise DataError(
            f"observation {key!r}: a frame of shape {field.shape} would take more than {most} bytes"
        )
    if key in (ACTION, TIME):
        raise DataError(
            f"an observation cannot be called {key!r}: that name is taken; rename it in the Spec"
        )
    if not re.fullmatch(r"\w[\w .-]*", key) or key == "zarr.json":
        raise DataError(
            f"observation {key!r} cannot be stored: use letters, digits, '_', '-' and '.' only"
        )


@dataclass(frozen=True, eq=False)
class Episode:
    """T frames of one attempt.

    data: observations as the Spec says, each (T, ...), images also as EncodedImages;
    "action" (T, A), what was sent; "time" (T,) [s] float64.
    success: None where nobody judged it. source: (T,) who acted, by the number in SOURCES; None
    where nobody said.
    """

    data: Mapping[str, Any]
    spec: Spec
    success: bool | None = None
    source: np.ndarray | None = None

    def __post_init__(self) -> None:
        formats = array_formats(self.spec)
        missing = formats.keys() - self.data.keys()
        if missing:
            raise DataError(f"episode lacks {names(missing)}; it needs {names(formats)}")
        unknown = self.data.keys() - formats.keys()
        if unknown:
            raise DataError(
                f"episode has unknown entries {names(unknown)}; valid: {names(formats)}"
            )
        data = {}
        lengths = {}
        for key, wanted in formats.items():
            data[key] = _convert(key, self.data[key], wanted)
            lengths[key] = len(data[key])
        if len(set(lengths.values())) > 1:
            raise DataError(f"arrays of an episode differ in length: {lengths}")
        if not isinstance(self.success, bool | np.bool_ | None):
            raise DataError(
                "an episode succeeded (True), failed (False) or is unknown (None), "
                f"not {self.success!r}"
            )
        object.__setattr__(self, "data", data)
        if self.source is not None:
            object.__setattr__(self, "source", _sources(self.source, len(self)))

    def __len__(self) -> int:
        return len(self.data[TIME])

    @property
    def sources(self) -> np.ndarray:
        """Return who acted at each frame (T,), unknown where nobody said."""
        return np.zeros(len(self), SOURCE_FORMAT.dtype) if self.source is None else self.source


def _sources(numbers: Any, frames: int) -> np.ndarray:
    """Return who acted as it is stored; DataError where these are no numbers of SOURCES."""
    numbers = np.asarray(numbers)
    if numbers.shape != (frames,) or not np.isin(numbers, np.arange(len(SOURCES))).all():
        raise DataError(
            f"source has shape {numbers.shape}, expected ({frames},) of numbers below "
            f"{len(SOURCES)}, for {names(SOURCES)}"
        )
    return numbers.astype(SOURCE_FORMAT.dtype)


def _convert(key: str, values: Any, wanted: ArrayFormat) -> Any:
    """Return the values as an episode holds them; DataError where they do not fit."""
    if not isinstance(values, EncodedImages):
        values = np.asarray(values)
    if not values.shape or values.shape[1:] != wanted.shape:
        expected = ", ".join(map(str, wanted.shape))
        raise DataError(f"{key!r} has shape {values.shape}, expected (T, {expected})")
    if wanted.dtype == np.uint8 and values.dtype != np.uint8:
        raise DataError(f"{key!r} is an image field of uint8 (0 to 255), not {values.dtype}")
    if isinstance(values, EncodedImages):
        return values
    if values.dtype.kind not in "fiub":
        raise DataError(f"{key!r} holds {values.dtype}, which is no real number")
    # a number too large becomes inf, which `check` reports with its frame
    with np.errstate(over="ignore"):
        return values.astype(wanted.dtype, copy=False)
