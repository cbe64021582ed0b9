"""The arrays of a replay buffer: opened, chosen, checked against each other, and read in parts."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from ....envs import DataError, caps
from ....envs.caps import require_ratio
from ....envs.errors import names
from ...episode import ACTION
from ...storage.images import EncodedImages, RawFrames
from ..choosing import Choice, Offer
from .foreign_zarr import Archive, Folder

Arrays = Mapping[str, zarr.Array]


@dataclass(frozen=True)
class ReplayBuffer:
    """The chosen arrays and the action, each (N, ...), of episodes that end at `ends`.

    images: how they shall be kept.
    """

    arrays: Arrays
    ends: Sequence[int]
    images: str

    def __post_init__(self) -> None:
        for key, array in self.arrays.items():
            if array.shape[0] != self.ends[-1]:
                raise DataError(
                    f"{key!r} has {array.shape[0]} frames, the episodes have {self.ends[-1]}"
                )

    def spans(self) -> Iterator[slice]:
        """Yield where each episode lies."""
        for start, stop in pairwise([0, *self.ends]):
            yield slice(start, stop)

    def read(self, span: slice) -> dict[str, Any]:
        """Return some frames as the buffer holds them; uint8 images are read when stored."""
        data = {}
        for key, array in self.arrays.items():
            if is_image(array) and array.dtype == np.uint8:
                pixels = RawFrames(array, span.start, span.stop, self.images, _place(array))
                data[key] = EncodedImages(pixels, array.shape[1:], self.images)
            else:
                data[key] = read_numbers(array, span)
        return data


@contextmanager
def open_group(path: Path) -> Iterator[zarr.Group]:
    """Open the group that holds `data` and `meta`."""
    if path.is_file():
        folder = _folder_inside(path)
        opened = Archive(path, mode="r")
    else:
        folder = ""
        opened = Folder(path, read_only=True)
    with opened as store:
        yield zarr.open_group(store, path=folder, mode="r", use_consolidated=False)


def _folder_inside(path: Path) -> str:
    """Return the folder of an archive in which the buffer lies.

    Those made by hand often have one.
    """
    sign = "meta/episode_ends/.zarray"
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.endswith(sign)]
    if len(found) > 1:
        raise DataError(f"{path} holds several replay buffers, unpack one of them: {names(found)}")
    return found[0].removesuffix(sign).rstrip("/") if found else ""


def read_ends(group: zarr.Group) -> list[int]:
    """Return the frame after the last of each episode."""
    array = group.get("meta/episode_ends")
    if not isinstance(array, zarr.Array) or not isinstance(group.get("data"), zarr.Group):
        raise DataError("no Diffusion Policy replay buffer: it lacks 'data' or 'meta/episode_ends'")
    ends = read_numbers(array, slice(0, array.shape[0]))
    whole = len(ends) > 0 and ends.dtype.kind in "iu"
    if not whole or (np.diff(ends, prepend=0) <= 0).any():
        raise DataError("meta/episode_ends must be whole numbers that grow from above 0")
    return ends.tolist()


def read_meta(group: zarr.Group, name: str, ends: Sequence[int]) -> np.ndarray:
    """Return a number (N,) of each frame, other than observations, of a buffer that we wrote."""
    array = group.get(f"meta/{name}")
    if not isinstance(array, zarr.Array):
        raise DataError(f"it lacks 'meta/{name}'")
    return read_numbers(array, slice(0, ends[-1]))


def read_numbers(array: zarr.Array, span: slice) -> np.ndarray:
    """Return some frames at once, where the files of the array are large enough for them."""
    frame = int(np.prod(array.shape[1:], dtype=object)) * array.dtype.itemsize
    if (span.stop - span.start) * frame > caps.FREE:
        store: Any = array.store
        require_ratio(array.shape[0] * frame, store.stored(array.path), _place(array))
    return np.asarray(array[span])


def _place(array: zarr.Array) -> str:
    store: Any = array.store
    return f"{store.place}, {array.path}"


def choose_arrays(
    group: zarr.Group, choice: Choice, usual: Sequence[str] | None = None
) -> dict[str, zarr.Array]:
    """Return the chosen arrays, and the action.

    usual: what is taken where nothing is chosen; by default arrays of at most one dimension per
    frame, and uint8 images.
    """
    data: Any = group["data"]
    offered = _offered_arrays(data, choice)
    numbers = []
    images = []
    usual_numbers = []
    usual_images = []
    for key, array in sorted(offered.items()):
        if is_image(array):
            images.append(key)
            if array.dtype == np.uint8 if usual is None else key in usual:
                usual_images.append(key)
        else:
            numbers.append(key)
            if array.ndim <= 2 if usual is None else key in usual:
                usual_numbers.append(key)
    chosen = Offer(numbers, images, usual_numbers, usual_images).choose(choice)
    arrays = {key: offered[key] for key in chosen}
    arrays[ACTION] = _action_array(data)
    return arrays


def _offered_arrays(data: zarr.Group, choice: Choice) -> dict[str, zarr.Array]:
    """Return the arrays of numbers to choose from.

    Where keys and cameras are both named, those are enough: others need not even be readable.
    """
    if choice.keys is not None and choice.cameras is not None:
        named = {}
        for key in (*choice.keys, *choice.cameras):
            array = data.get(key)
            if key != ACTION and isinstance(array, zarr.Array) and _is_numeric(array):
                named[key] = array
        if len(named) == len({*choice.keys, *choice.cameras}):
            return named
    return {key: array for key, array in data.arrays() if key != ACTION and _is_numeric(array)}


def _action_array(data: zarr.Group) -> zarr.Array:
    array = data.get(ACTION)
    if not isinstance(array, zarr.Array):
        raise DataError(f"no 'data/{ACTION}'; valid: {names(data.array_keys())}")
    if not _is_numeric(array):
        raise DataError(f"{ACTION!r} holds {array.dtype}, not numbers per frame")
    return array


def _is_numeric(array: zarr.Array) -> bool:
    return array.dtype.kind in "fiub" and array.ndim > 0


def is_image(array: zarr.Array) -> bool:
    """Return whether an array holds pictures, (N, height, width, 3)."""
    return array.ndim == 4 and array.shape[3] == 3
