"""The videos of a LeRobot dataset: many episodes in a file, decoded in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import av

from ....envs import DataError
from ....envs.errors import refusing
from ...storage.images import ENCODINGS, EncodedImages, Spool

MARGIN = 64  # pixels at each side that a decoder may add to a picture


class VideoReader:
    """The pictures of one camera, decoded in order.

    find_file: the file of a chunk_index and file_index; shape: of each picture; hz: how many a
    second.
    """

    def __init__(
        self,
        find_file: Callable[..., Path],
        feature: str,
        camera: str,
        shape: tuple[int, ...],
        hz: float,
    ) -> None:
        self._find_file = find_file
        self._feature = feature
        self._camera = camera
        self._shape = shape
        self._period = 1 / hz
        self._file = Path()
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._time = 0.0  # [s] up to which the file has been decoded

    def read(self, row: Mapping[str, Any], encoding: str) -> EncodedImages:
        """Return those of an episode, of which `row` says where they are."""
        start = row[f"videos/{self._feature}/from_timestamp"]
        count = row["length"]
        self._open(row, start)
        images = Spool(count)
        encode = ENCODINGS[encoding].encode
        found = 0
        for frame in self._frames if count else ():
            self._time = (frame.time or 0.0) + self._period / 2
            if self._time < start:
                continue
            due = start + found * self._period
            if self._time > start + (found + 1) * self._period:
                raise DataError(f"{self._file} lacks a picture at {due:.3f} s")
            images.put(encode(self._pixels(frame)), found)
            found += 1
            if found == count:
                return EncodedImages(images, self._shape, encoding)
        raise DataError(f"{self._file} ends before episode {row['episode_index']} does")

    def _open(self, row: Mapping[str, Any], start: float) -> None:
        """Go on in the open file where the episode follows in it, else open its file anew."""
        file = self._find_file(
            chunk_index=row[f"videos/{self._feature}/chunk_index"],
            file_index=row[f"videos/{self._feature}/file_index"],
        )
        if file != self._file or start < self._time:
            self._file = file
            self._frames = decode_video(file, self._camera, self._shape[:2])

    def _pixels(self, frame: av.VideoFrame) -> Any:
        pixels = frame.to_ndarray(format="rgb24")
        if pixels.shape != self._shape:
            raise DataError(
                f"{self._file} has a picture of {pixels.shape} among those of {self._shape}"
            )
        return pixels


def decode_video(file: Path, camera: str, size: Collection[int]) -> Iterator[av.VideoFrame]:
    """Yield the pictures of a video, each of (height, width)."""
    if not file.is_file():
        raise DataError(
            f"the video {file} of camera {camera!r} is missing: fetch it,"
            " or import the rest with cameras=[]"
        )
    height, width = size
    with (
        refusing(DataError, f"cannot read {file} as a video", file),
        av.open(str(file), format="mp4") as container,
    ):
        stream = container.streams.video[0]
        codec = stream.codec_context
        if (codec.height, codec.width) != (height, width):
            raise DataError(
                f"{file} has pictures of {codec.height} x {codec.width},"
                f" the dataset says {height} x {width}"
            )
        most = (height + 2 * MARGIN) * (width + 2 * MARGIN)
        codec.options = {"max_pixels": str(most)}
        yield from container.decode(stream)
