"""The images of a field in a store: compressed one by one, end to end, and where each ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import zarr

from ...envs import DataError, Field, Spec
from ..episode import ArrayFormat
from .images import CHUNK, Blobs, EncodedImages
from .zarr_layout import SLACK
from .zarr_store import create_array, find_array, read_frames, write_end

WRITTEN_TOGETHER = 64  # images
OFFSETS = ArrayFormat((), np.dtype("int64"))


class ImageArrays:
    """Two arrays of a store: `data/<key>/bytes`, and `data/<key>/ends` (N,), where each image ends.

    path, group: of the store; encoding: how its images are compressed.
    """

    def __init__(
        self, path: Path, group: zarr.Group, key: str, field: Field, encoding: str
    ) -> None:
        self._path = path
        self._group = group
        self._key = key
        self._field = field
        self._encoding = encoding
        self._bytes = f"data/{key}/bytes"
        self._ends = f"data/{key}/ends"

    def create(self) -> None:
        """Make both arrays, empty."""
        self._group.create_array(
            self._bytes, shape=(0,), dtype="uint8", chunks=(CHUNK,), compressors=None
        )
        create_array(self._group, self._ends, OFFSETS)

    def open(self, recorded: int, ranges: Sequence[tuple[int, int]]) -> EncodedImages:
        """Return the images in some ranges of the `recorded` frames; indexing reads and decodes.

        Raises DataError where the ends are damaged.
        """
        ends = read_frames(self._path, self._find(self._ends), 0, recorded)
        self._require_sound(ends, recorded)
        starts = np.concatenate([[0], ends[:-1]])
        bounds = np.stack([starts, ends], axis=1)
        parts = [bounds[:0]]
        for start, stop in ranges:
            parts.append(bounds[start:stop])
        content = Blobs(self._path / self._bytes, np.concatenate(parts))
        return EncodedImages(
            content, self._field.shape, self._encoding, f"{self._path}, {self._key}"
        )

    def append(self, recorded: int, images: Iterable[bytes]) -> None:
        """Write images after the `recorded` ones, some at a time: all may not fit the memory."""
        ends_array = self._find(self._ends)
        content_array = self._find(self._bytes)
        end = 0
        if recorded:
            end = int(read_frames(self._path, ends_array, recorded - 1, recorded)[0])
        ends: list[int] = []
        remaining = iter(images)
        batch = list(islice(remaining, WRITTEN_TOGETHER))
        while batch:
            write_end(content_array, end, np.frombuffer(b"".join(batch), np.uint8))
            for content in batch:
                end += len(content)
                ends.append(end)
            batch = list(islice(remaining, WRITTEN_TOGETHER))
        write_end(ends_array, recorded, np.array(ends))

    def _require_sound(self, ends: np.ndarray, recorded: int) -> None:
        sizes = np.diff(ends, prepend=0)
        if (sizes <= 0).any() or len(ends) < recorded:
            raise DataError(f"{self._path} is damaged: {self._ends} does not grow")
        largest = 2 * self._field.size + SLACK  # what cannot be compressed becomes larger
        if sizes.max(initial=0) > largest:
            raise DataError(
                f"{self._path} is damaged: {self._ends} has a picture of more than {largest} bytes"
            )

    def _find(self, name: str) -> zarr.Array:
        return find_array(self._path, self._group, name)


def arrays_of_images(
    path: Path, group: zarr.Group, spec: Spec, encoding: str
) -> dict[str, ImageArrays]:
    """Return the arrays of each image field of a store."""
    found: dict[str, ImageArrays] = {}
    for key, field in spec.images.items():
        found[key] = ImageArrays(path, group, key, field, encoding)
    return found
