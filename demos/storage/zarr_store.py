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
from ..episode import Column
from .atomic_store import AtomicStore, stored

CHUNK_BYTES, CHUNK_FRAMES = 2**18, 4096  # a chunk has at most so many, and at least one frame
LEFT = 2**16  # chunks that a killed writer may have left behind
Method = TypeVar("Method", bound=Callable[..., Any])


def reading(method: Method) -> Method:
    """Make whatever a method of a store raises a DataError that names the store."""

    @wraps(method)
    def safely(store: Any, *arguments: Any, **more: Any) -> Any:
        with refusing(DataError, f"cannot read {store.path}", store.path):
            return method(store, *arguments, **more)

    return cast(Method, safely)


def opened(path: Path, mode: Literal["r", "a"]) -> zarr.Group:
    """The group of a store, of zarr format 3 and no other."""
    files = AtomicStore(path, read_only=mode == "r")
    with refusing(DataError, f"{path} is damaged", path):
        access = "r" if mode == "r" else "r+"
        return zarr.open_group(files, mode=access, zarr_format=3, use_consolidated=False)


def create(group: zarr.Group, name: str, column: Column) -> None:
    """Make an empty array."""
    shape, dtype = column
    frames = min(max(CHUNK_BYTES // (dtype.itemsize * int(np.prod(shape))), 1), CHUNK_FRAMES)
    fill = np.nan if dtype.kind == "f" else 0  # a lost chunk reads as NaN, which `check` finds
    group.create_array(
        name, shape=(0, *shape), dtype=dtype, chunks=(frames, *shape), fill_value=fill
    )


def find(path: Path, group: zarr.Group, name: str) -> zarr.Array:
    """An array of the store at `path`; DataError where it has another format, or none such."""
    with refusing(DataError, f"{path} is damaged: cannot read {name}", path):
        array = group.get(name)
    if (path / name / ".zarray").exists():
        raise DataError(
            f"{path} is damaged: {name} is of zarr format 2; a store of fewstep has format 3"
        )
    if not isinstance(array, zarr.Array):
        raise DataError(f"{path} is damaged: it lacks {name}")
    return array


def read(path: Path, array: zarr.Array, start: int, stop: int | None) -> np.ndarray:
    """Some frames, where the files of the whole array are large enough for them."""
    where = f"{path} is damaged in {array.path}, {start} to {stop}"
    with refusing(DataError, where, path):
        start, stop, _ = slice(start, stop).indices(array.shape[0])
        frame = int(np.prod(array.shape[1:], dtype=object)) * array.dtype.itemsize
        if (stop - start) * frame > caps.FREE:
            require_ratio(array.shape[0] * frame, stored(path / array.path), where)
        return np.asarray(array[start:stop])


def write(array: zarr.Array, start: int, values: np.ndarray) -> None:
    """Make `values` the end of `array`, from `start` on."""
    if array.shape[0] - start > LEFT * array.chunks[0]:
        place = str(array.store).partition("://")[2]
        raise DataError(
            f"{place}, {array.path} is damaged: {array.shape[0]} long, its episodes take {start}"
        )
    array.resize((start + len(values), *array.shape[1:]))
    array[start:] = values


def sync(group: zarr.Group) -> None:
    """Wait until a failing power supply could undo nothing of what was written."""
    cast(AtomicStore, group.store).sync_folders()
