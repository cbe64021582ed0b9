"""The files of a LeRobot dataset: inside its folder, and read in parts that fit the memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import Any

import av
import pyarrow as pa
import pyarrow.parquet as pq

from ....envs import DataError, caps
from ....envs.caps import require_ratio
from ....envs.errors import names, refusing
from ....envs.files import require_plain
from ...storage.images import ENCODINGS, EncodedImages, Spool

ROWS = 512  # of parquet that are read at once, fewer where they are large
MARGIN = 64  # pixels at each side that a decoder may add to a picture
TEXTS = "BYTE_ARRAY"


def filled(folder: Path, template: Any, **values: Any) -> Path:
    """The file that a template such as data/chunk-{chunk_index:03d}.parquet names.

    DataError where that leaves `folder`, or the template asks for more than a number or a name.
    """
    if not isinstance(template, str):
        raise DataError(f"{folder} says of a path that it is {template!r}")
    for _, field, form, conversion in Formatter().parse(template):
        plain = field in values and not conversion and re.fullmatch(r"(0?\d\d?d)?", form or "")
        if field is not None and not plain:
            raise DataError(
                f"{folder} has a path {template!r}; valid fields: {names(values)}, also as in :03d"
            )
    file = folder / template.format(**values)
    if not file.is_relative_to(folder) or ".." in file.relative_to(folder).parts:
        raise DataError(f"{folder} has a path {template!r}, which leads out of it")
    require_plain(file, folder)
    return file


def batches(file: Path, widths: Mapping[str, int]) -> Iterator[pa.RecordBatch]:
    """Some rows at a time. widths: the columns to read, and how many numbers a row may have."""
    with refusing(DataError, f"cannot read {file} as parquet", file):
        parquet = pq.ParquetFile(file)
        rows = _rows_at_once(file, parquet.metadata, widths)
        yield from parquet.iter_batches(rows, columns=list(widths))


def _rows_at_once(file: Path, about: pq.FileMetaData, widths: Mapping[str, int]) -> int:
    """How many rows are read at once, after a look at what all columns say of their size."""
    largest = 1
    for group in map(about.row_group, range(about.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            where, place = f"{file}, {column.path_in_schema}", column.path_in_schema
            require_ratio(column.total_uncompressed_size, column.total_compressed_size, where)
            width = next(
                (n for key, n in widths.items() if place == key or place.startswith(f"{key}.")),
                None,
            )
            if width is None:
                continue
            if column.physical_type == TEXTS:
                largest = max(largest, column.total_uncompressed_size)  # one value may be all
            elif column.num_values > max(width, 1) * group.num_rows:
                raise DataError(
                    f"{where} has {column.num_values} numbers in {group.num_rows} rows of {width}"
                )
    return min(max(4 * caps.FREE // largest, 1), ROWS)


def episode_rows(folder: Path) -> list[dict[str, Any]]:
    """What the dataset says about every episode, in their order, statistics left out."""
    out: list[dict[str, Any]] = []
    for file in sorted((folder / "meta/episodes").rglob("*.parquet")):
        require_plain(file, folder)
        with refusing(DataError, f"cannot read {file} as parquet", file):
            kept = [name for name in pq.read_schema(file).names if not name.startswith("stats/")]
            size = 0
            for batch in batches(file, dict.fromkeys(kept, caps.FREE)):
                size += batch.nbytes
                require_ratio(size, file.stat().st_size, str(file))
                out += batch.to_pylist()
    if not out:
        raise DataError(f"{folder} has no episodes: meta/episodes holds none")
    return sorted(out, key=lambda row: row["episode_index"])


def frames(file: Path, camera: str, size: Collection[int]) -> Iterator[av.VideoFrame]:
    """The pictures of a video, each of (height, width)."""
    if not file.is_file():
        raise DataError(
            f"the video {file} of camera {camera!r} is missing: fetch it, or import the rest with cameras=[]"
        )
    height, width = size
    with (
        refusing(DataError, f"cannot read {file} as a video", file),
        av.open(str(file), format="mp4") as container,
    ):
        stream = container.streams.video[0]
        if (stream.codec_context.height, stream.codec_context.width) != (height, width):
            found = f"{stream.codec_context.height} x {stream.codec_context.width}"
            raise DataError(f"{file} has pictures of {found}, the dataset says {height} x {width}")
        stream.codec_context.options = {
            "max_pixels": str((height + 2 * MARGIN) * (width + 2 * MARGIN))
        }
        yield from container.decode(stream)


class Video:
    """The pictures of one camera, decoded in order.

    place: the file of a chunk_index and file_index; shape: of each picture; hz: how many a second.
    """

    def __init__(
        self,
        place: Callable[..., Path],
        feature: str,
        camera: str,
        shape: tuple[int, ...],
        hz: float,
    ) -> None:
        self._place, self._feature, self._camera = place, feature, camera
        self._shape, self._period = shape, 1 / hz
        self._file, self._frames = Path(), iter(())
        self._time = 0.0

    def take(self, row: Mapping[str, Any], encoding: str) -> EncodedImages:
        """Those of an episode."""
        where = {
            k: row[f"videos/{self._feature}/{k}"]
            for k in ("chunk_index", "file_index", "from_timestamp")
        }
        start = where.pop("from_timestamp")
        file = self._place(**where)
        if file != self._file or start < self._time:
            self._file, self._frames = file, frames(file, self._camera, self._shape[:2])
        found, count = Spool(row["length"]), 0
        encode = ENCODINGS[encoding].encode
        for frame in self._frames if row["length"] else ():
            self._time = (frame.time or 0.0) + self._period / 2
            if self._time < start:
                continue
            if self._time > start + (count + 1) * self._period:
                raise DataError(f"{file} lacks a picture at {start + count * self._period:.3f} s")
            picture = frame.to_ndarray(format="rgb24")
            if picture.shape != self._shape:
                raise DataError(
                    f"{file} has a picture of {picture.shape} among those of {self._shape}"
                )
            found.put(encode(picture), count)
            count += 1
            if count == row["length"]:
                return EncodedImages(found, self._shape, encoding)
        raise DataError(f"{file} ends before episode {row['episode_index']} does")
