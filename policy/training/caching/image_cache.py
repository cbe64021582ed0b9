"""The pictures of a store for training: decoded and resized once, then mapped into memory."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from ....demos.store import DemoStore
from ....envs import DataError
from ....envs.errors import names
from ....envs.files import require_plain
from ....envs.locks import turn
from .image_decoding import writers
from .image_file import ImageFile
from .image_source import find_source

LOCK = ".lock"  # in the folder of a cache: one process builds in it at a time
ADVICE = "make room there, or choose a smaller size of images"
WORTH_A_PROCESS = 1000  # pictures: fewer are decoded sooner than another process has begun


class CachedImages:
    """Pictures (N, h, w, 3) uint8 of the frames that a store shows, mapped into memory.

    Only pages of which a picture is read are in memory, and the system takes them back when others
    need the memory.
    """

    dtype = np.dtype("uint8")

    def __init__(self, rows: np.ndarray, ends: np.ndarray, shifts: np.ndarray) -> None:
        """Show some of the recorded pictures, `rows` (R, h, w, 3).

        ends (E,): frame after the last of each episode, counted over the episodes that are shown.
        shifts (E,): how many frames of hidden episodes lie before each in the recording.
        """
        self._rows = rows
        self._ends = ends
        self._shifts = shifts
        self.shape: tuple[int, ...] = (int(ends[-1]), *rows.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: np.ndarray) -> np.ndarray:
        """Return a copy of the pictures (..., h, w, 3) of some frames (...), whole numbers."""
        numbers = np.asarray(frames)
        if numbers.dtype.kind not in "iu":
            raise IndexError(f"frames are whole numbers, not {numbers.dtype}")
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise IndexError(f"frames go from 0 to {len(self) - 1}")
        episodes = np.searchsorted(self._ends, numbers, side="right")
        return self._rows.take(numbers + self._shifts[episodes], axis=0)


def cache_images(
    store: DemoStore,
    keys: Sequence[str],
    side: int,
    *,
    workers: int = 0,
    on_frames: Callable[[str, int, int], None] = lambda camera, done, total: None,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, CachedImages]:
    """Return the pictures of some cameras with `side` as their shorter side [px], decoded once.

    They are kept in the folder `<store>.cache` beside the store, those of deleted episodes as well,
    and so serve every later training. What fits no longer is built anew, where episodes were
    appended these are added, and `log` is told why. Of several processes one builds, and the others
    wait for it.

    workers: processes that decode; 0: one for each core. on_frames: is given a camera, how many of
    its pictures are done, and how many there are to do. Raises DataError where the disk has no room
    or the store is damaged; then nothing half done is left.
    """
    store.require()
    folder = cache_folder(store.path)
    files = _find_files(folder, store, keys, side)
    opened = [file.open() for file in files]
    if any(rows is None for rows in opened):
        with _alone_in(folder, log):
            files = _find_files(folder, store, keys, side)  # what was recorded meanwhile as well
            _build(folder, files, workers, on_frames, log)
            opened = [file.open() for file in files]
    shifts = _hidden_before(store)
    images: dict[str, CachedImages] = {}
    for file, rows in zip(files, opened, strict=True):
        if rows is None:
            raise DataError(f"{folder} changed while it was read: start again")
        images[file.source.key] = CachedImages(rows, store.ends, shifts)
    return images


def cache_folder(store: Path) -> Path:
    """Return the folder beside a store, or beside a link to it, that holds its cache."""
    path = Path(os.path.abspath(store))
    return path.with_name(f"{path.name}.cache")


def needed_bytes(store: DemoStore, keys: Sequence[str], side: int) -> int:
    """Return how many bytes of the disk the cache of these pictures takes.

    As much memory, if it is free, holds all of them; training needs little of it.
    """
    total = 0
    for key in keys:
        source = find_source(store.path, key, side)
        total += source.frames * source.frame_bytes
    return total


def _find_files(folder: Path, store: DemoStore, keys: Sequence[str], side: int) -> list[ImageFile]:
    files: list[ImageFile] = []
    for key in keys:
        files.append(ImageFile(folder, find_source(store.path, key, side)))
    return files


def _hidden_before(store: DemoStore) -> np.ndarray:
    """Return (E,) how many frames lie before each episode in the recording that are not shown."""
    recorded = DemoStore.open(store.path, deleted=True)
    if len(recorded) and store.numbers.max() < len(recorded):
        shifts = recorded.ends[store.numbers] - store.ends
        lengths = np.diff(recorded.ends, prepend=0)[store.numbers]
        if np.array_equal(lengths, np.diff(store.ends, prepend=0)):
            return shifts
    raise DataError(f"{store.path} was replaced after it was opened: start again")


@contextmanager
def _alone_in(folder: Path, log: Callable[[str], None]) -> Iterator[None]:
    """Be the only one who builds in a folder, which is made; wait for others as long as it takes.

    A process that dies no longer counts.
    """
    file = folder / LOCK
    try:
        folder.mkdir(exist_ok=True)
        require_plain(file, folder)
        file.touch()
    except OSError as error:
        raise DataError(
            f"cannot write to {folder}: {error.strerror or error}; train on a copy of the store "
            "that lies where you may write, or on a link to it (ln -s), beside which the pictures "
            "are then kept"
        ) from error
    with ExitStack() as stack:
        try:
            stack.enter_context(turn(file, 0))
        except DataError:
            log(f"waits for another process that caches pictures in {folder}")
            stack.enter_context(turn(file, math.inf))
        yield


def _build(
    folder: Path,
    files: Sequence[ImageFile],
    workers: int,
    on_frames: Callable[[str, int, int], None],
    log: Callable[[str], None],
) -> None:
    """Decode what the files lack."""
    try:
        reasons = [file.prepare() for file in files]
        _require_room(folder, files)
        missing = sum(file.missing for file in files)
        processes = min(workers or os.cpu_count() or 1, math.ceil(missing / WORTH_A_PROCESS))
        with writers(processes) as write:
            for file, reason in zip(files, reasons, strict=True):
                if file.missing:
                    log(_describe_work(folder, file, reason))
                    file.build(write, partial(_report, on_frames, file.source.key, file.missing))
    except OSError as error:
        raise DataError(
            f"could not write to {folder}: {error.strerror or error}; nothing half done is left. "
            f"What is missing takes {_missing_bytes(files) / 1e9:.3g} GB; {ADVICE}"
        ) from error


def _report(on_frames: Callable[[str, int, int], None], camera: str, total: int, done: int) -> None:
    on_frames(camera, done, total)


def _missing_bytes(files: Sequence[ImageFile]) -> int:
    return sum(file.missing * file.source.frame_bytes for file in files)


def _require_room(folder: Path, files: Sequence[ImageFile]) -> None:
    """Raise DataError where the disk is too full for what is missing."""
    needed = _missing_bytes(files)
    free = shutil.disk_usage(folder).free
    if needed > free:
        cameras = names(file.source.key for file in files)
        raise DataError(
            f"the pictures of {cameras} take {needed / 1e9:.3g} GB more in {folder}, where "
            f"{free / 1e9:.3g} GB are free; {ADVICE}"
        )


def _describe_work(folder: Path, file: ImageFile, reason: str) -> str:
    source = file.source
    height, width = source.size
    gigabytes = file.missing * source.frame_bytes / 1e9
    return (
        f"decodes {file.missing} pictures of {source.key} at {width}x{height} into {folder}, "
        f"{gigabytes:.3g} GB: {reason}"
    )
