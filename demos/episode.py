"""Episode: what happened from reset to the end, as arrays of equal length."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..envs import DataError, Spec, caps
from ..envs.errors import names
from .storage.images import EncodedImages

ACTION, TIME = "action", "time"


class Column(NamedTuple):
    """Shape of one frame, and storage type."""

    shape: tuple[int, ...]
    dtype: np.dtype


def columns(spec: Spec) -> dict[str, Column]:
    """The arrays of an episode of this Spec: its observations, "action" (A,) and "time" [s]."""
    for key, field in spec.observations.items():
        if field.size == 0:
            raise DataError(f"observation {key!r} has no elements: its shape is {field.shape}")
        most = 3 * caps.PIXELS if field.is_image else caps.FREE
        if field.size * field.dtype.itemsize > most:
            raise DataError(
                f"observation {key!r}: "
                f"a frame of shape {field.shape} would take more than {most} bytes"
            )
        if key in (ACTION, TIME):
            raise DataError(
                f"an observation cannot be called {key!r}: "
                "that name is taken; rename it in the Spec"
            )
        if not re.fullmatch(r"\w[\w .-]*", key) or key == "zarr.json":
            raise DataError(
                f"observation {key!r} cannot be stored: use letters, digits, '_', '-' and '.' only"
            )
    out = {key: Column(field.shape, field.dtype) for key, field in spec.observations.items()}
    return out | {
        ACTION: Column((spec.action_size,), np.dtype("float32")),
        TIME: Column((), np.dtype("float64")),
    }


@dataclass(frozen=True, eq=False)
class Episode:
    """T frames of one attempt.

    data: observations as the Spec says, each (T, ...), images also as EncodedImages;
    "action" (T, A), what was sent; "time" (T,) [s] float64.
    success: None where nobody judged it.
    """

    data: Mapping[str, Any]
    spec: Spec
    success: bool | None = None

    def __post_init__(self) -> None:
        want = columns(self.spec)
        missing = want.keys() - self.data.keys()
        if missing:
            raise DataError(f"episode lacks {names(missing)}; it needs {names(want)}")
        unknown = self.data.keys() - want.keys()
        if unknown:
            raise DataError(f"episode has unknown entries {names(unknown)}; valid: {names(want)}")
        data = {key: _column(key, self.data[key], column) for key, column in want.items()}
        lengths = {key: len(values) for key, values in data.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"arrays of an episode differ in length: {lengths}")
        if not isinstance(self.success, bool | np.bool_ | None):
            raise DataError(
                "an episode succeeded (True), failed (False) or is unknown (None), "
                f"not {self.success!r}"
            )
        object.__setattr__(self, "data", data)

    def __len__(self) -> int:
        return len(self.data[TIME])


def _column(key: str, values: Any, column: Column) -> Any:
    values = values if isinstance(values, EncodedImages) else np.asarray(values)
    if not values.shape or values.shape[1:] != column.shape:
        raise DataError(
            f"{key!r} has shape {values.shape}, expected (T, {', '.join(map(str, column.shape))})"
        )
    if column.dtype == np.uint8 and values.dtype != np.uint8:
        raise DataError(f"{key!r} is an image field of uint8 (0 to 255), not {values.dtype}")
    if isinstance(values, EncodedImages):
        return values
    if values.dtype.kind not in "fiub":
        raise DataError(f"{key!r} holds {values.dtype}, which is no real number")
    with np.errstate(
        over="ignore"
    ):  # a number too large becomes inf, which `check` reports with its frame
        return values.astype(column.dtype, copy=False)
