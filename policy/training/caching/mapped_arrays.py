"""Arrays of a store laid out in a file without a name, mapped into memory as they are needed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from ....demos.store import DemoStore
from ....envs import DataError

BLOCK = 2**16  # frames that are decoded together


def map_arrays(store: DemoStore, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Return arrays (N, ...) of a store, mapped into memory page by page as they are read.

    The store compresses its arrays, so they are decoded once, block by block, into a temporary file
    beside the store, or in the system's folder for such files where nothing can be written there.
    The file has no name and is gone with the arrays. Raises DataError where there is no room.
    """
    arrays: dict[str, np.ndarray] = {}
    with _open_scratch(store.path) as file:
        for key in keys:
            arrays[key] = _map_array(store, key, file)
    return arrays


def _map_array(store: DemoStore, key: str, file: IO[bytes]) -> np.ndarray:
    offset = file.tell()
    block = store.array(key, 0, 0)
    for start in range(0, store.frames, BLOCK):
        block = store.array(key, start, start + BLOCK)
        try:
            file.write(block.tobytes())
        except OSError as error:
            raise DataError(
                f"cannot lay out {key!r} of {store.path} to read it: {error.strerror or error}"
            ) from error
    file.flush()
    shape = (store.frames, *block.shape[1:])
    # Copy-on-write: torch wants arrays that could be written to.
    mapped = np.memmap(file, block.dtype, "c", offset, shape)
    return np.asarray(mapped)


def _open_scratch(path: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=path.absolute().parent)
    except OSError:
        return tempfile.TemporaryFile()
