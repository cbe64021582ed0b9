"""The videos of a LeRobot dataset, decoded in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import av

from ....envs import DataError
from ....envs.errors import refusing
from ...storage.images import ENCODINGS, EncodedImages, Spool
from .features import EPISODE
from .layouts import LENGTH, Row, VideoPlace

MARGIN = 64  # pixels at each side that a decoder may add to a picture


class VideoReader:
    """The pictures of one camera, decoded in order.

    find: where those of an episode are; shape: of each picture; hz: how many a second.
    """

    def __init__(
        self, find: Callable[[Row], VideoPlace], camera: str, shape: tuple[int, ...], hz: float
    ) -> None:
        self._find = find
        self._camera = camera
        self._shape = shape
        self._period = 1 / hz
        self._file = Path()
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._time = 0.0  # [s] up to which the file has been decoded

    def read(self, row: Row, encoding: str) -> EncodedImages:
        """Return those of an episode; DataError where the video has not as many as `row` says."""
        place = self._find(row)
        start = place.start
        count = row[LENGTH]
        self._open(place)
        images = Spool(count)
        encode = ENCODINGS[encoding].encode
        found = 0
        for frame in self._frames:
            self._time = (frame.time or 0.0) + self._period / 2
            if self._time < start:
                continue
            due = start + found * self._period
            if self._time > start + (found + 1) * self._period:
                raise DataError(f"{self._file} lacks a picture at {due:.3f} s")
            images.put(encode(self._pixels(frame)), found)
            found += 1
            if found == count:
                break
        if found < count:
            raise DataError(
                f"{self._file} ends before episode {row[EPISODE]} does:"
                f" it has {found} pictures for {count} frames"
            )
        if place.whole and next(self._frames, None) is not None:
            raise DataError(
                f"{self._file} has more pictures than the {count} frames of episode {row[EPISODE]}"
            )
        return EncodedImages(images, self._shape, encoding)

    def _open(self, place: VideoPlace) -> None:
        """Go on in the open file where the episode follows in it, else open its file anew."""
        if place.file != self._file or place.start < self._time:
            self._file = place.file
            self._frames = decode_video(place.file, self._camera, self._shape[:2])

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
