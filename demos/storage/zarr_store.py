"""The arrays of a store: made, found, read and grown."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import zarr

from ...envs import DataError, caps
from ...envs.caps import require_ratio
from ...envs.errors import refusing
from ..episode import ArrayFormat
from .atomic_store import AtomicStore, measure_stored

CHUNK_BYTES = 2**18  # a chunk has at most so many, or a single frame
CHUNK_FRAMES = 4096  # nor has it more frames
LEFT_BEHIND = 2**16  # chunks that a killed writer may have left past the last episode
Method = TypeVar("Method", bound=Callable[..., Any])


def names_store(method: Method) -> Method:
    """Make whatever a method of a store raises a DataError that names the store."""

    @wraps(method)
    def wrapped(store: Any, *arguments: Any, **options: Any) -> Any:
        with refusing(DataError, f"cannot read {store.path}", store.path):
            return method(store, *arguments, **options)

    return cast(Method, wrapped)


def open_group(path: Path, mode: Literal["r", "a"]) -> zarr.Group:
    """Open the group of a store, of zarr format 3 and no other."""
    files = AtomicStore(path, read_only=mode == "r")
    with refusing(DataError, f"{path} is damaged", path):
        access = "r" if mode == "r" else "r+"
        return zarr.open_group(files, mode=access, zarr_format=3, use_consolidated=False)


def create_array(group: zarr.Group, name: str, array_format: ArrayFormat) -> None:
    """Make an empty array (0, ...) of frames."""
    frame_bytes = array_format.dtype.itemsize * int(np.prod(array_format.shape))
    chunk_frames = min(max(CHUNK_BYTES // frame_bytes, 1), CHUNK_FRAMES)
    # A lost chunk reads as NaN, which `check` finds.
    fill_value = np.nan if array_format.dtype.kind == "f" else 0
    group.create_array(
        name,
        shape=(0, *array_format.shape),
        dtype=array_format.dtype,
        chunks=(chunk_frames, *array_format.shape),
        fill_value=fill_value,
    )


def find_array(path: Path, group: zarr.Group, name: str) -> zarr.Array:
    """Return an array of the store at `path`.

    Raises DataError where it has another format than 3, or there is none such.
    """
    with refusing(DataError, f"{path} is damaged: cannot read {name}", path):
        array = group.get(name)
    if (path / name / ".zarray").exists():
        raise DataError(
            f"{path} is damaged: {name} is of zarr format 2; a store of fewstep has format 3"
        )
    if not isinstance(array, zarr.Array):
        raise DataError(f"{path} is damaged: it lacks {name}")
    return array


def read_frames(path: Path, array: zarr.Array, start: int, stop: int | None) -> np.ndarray:
    """Read some frames, where the files of the whole array are large enough for them."""
    where = f"{path} is damaged in {array.path}, {start} to {stop}"
    with refusing(DataError, where, path):
        start, stop, _ = slice(start, stop).indices(array.shape[0])
        frame_bytes = int(np.prod(array.shape[1:], dtype=object)) * array.dtype.itemsize
        if (stop - start) * frame_bytes > caps.FREE:
            require_ratio(array.shape[0] * frame_bytes, measure_stored(path / array.path), where)
        return np.asarray(array[start:stop])


def write_end(array: zarr.Array, start: int, values: np.ndarray) -> None:
    """Make `values` the end of `array`, from frame `start` on."""
    if array.shape[0] - start > LEFT_BEHIND * array.chunks[0]:
        folder = str(array.store).partition("://")[2]
        raise DataError(
            f"{folder}, {array.path} is damaged: {array.shape[0]} long, its episodes take {start}"
        )
    array.resize((start + len(values), *array.shape[1:]))
    array[start:] = values


def sync_group(group: zarr.Group) -> None:
    """Wait until a failing power supply could undo nothing of what was written."""
    cast(AtomicStore, group.store).sync_folders()
