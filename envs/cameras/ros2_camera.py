"""A topic of pictures of ROS 2 as a camera."""

from __future__ import annotations

import io
import queue
import time
from contextlib import suppress
from typing import Any

import numpy as np

from ..errors import RobotError
from ..ros2.clock_offset import ClockOffset
from ..ros2.graph import ROUTER, Graph, not_published
from ..ros2.types import COMPRESSED_IMAGE, IMAGE, Types, seconds
from .camera_config import CameraConfig

PREFIX = "ros2:"
PATIENCE_SECONDS = 5.0  # for the next picture
WAITING = 4  # pictures that may wait; the oldest goes
CHANNELS = {  # of an Image's encoding: which byte of a pixel is red, green, blue
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}


class Ros2Camera:
    """Pictures of `ros2:/topic`; its options are connect, domain, distro and compressed.

    compressed: whether the topic is of CompressedImage; by default where its name ends so.
    """

    def __init__(
        self,
        config: CameraConfig,
        *,
        connect: str = ROUTER,
        domain: int = 0,
        distro: str = "jazzy",
        compressed: bool | None = None,
    ) -> None:
        self._topic = config.source.removeprefix(PREFIX)
        if compressed is None:
            compressed = self._topic.endswith("/compressed")
        self._kind = COMPRESSED_IMAGE if compressed else IMAGE
        self._types = Types(distro)
        self._offset = ClockOffset()
        self._came = queue.Queue[tuple[float, bytes]](WAITING)
        self._graph = Graph(f"fewstep_camera_{time.time_ns()}", self._types, connect, domain)
        try:
            self._graph.subscribe(self._topic, self._kind, self._hear)
        except BaseException:
            self.close()
            raise

    def _hear(self, content: bytes) -> None:
        came = time.monotonic()
        if self._came.full():
            with suppress(queue.Empty):
                self._came.get_nowait()
        with suppress(queue.Full):
            self._came.put_nowait((came, content))

    def read(self) -> tuple[float, np.ndarray]:
        """Return the next picture; its stamp is its header's, brought to the clock here."""
        try:
            came, content = self._came.get(timeout=PATIENCE_SECONDS)
        except queue.Empty as error:
            raise RobotError(not_published(self._topic, self._kind, self._graph)) from error
        message = self._types.decode(content, self._kind)
        stamp = self._offset.here(seconds(message.header.stamp), came)
        if self._kind == COMPRESSED_IMAGE:
            return stamp, _decompress(bytes(message.data), self._topic)
        return stamp, _decode(message, self._topic)

    def close(self) -> None:
        """Leave the graph."""
        with suppress(Exception):  # Zenoh's own errors, where it is closed already
            self._graph.close()


def _decompress(content: bytes, topic: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
            if picture.mode.startswith(("I", "F")):
                raise ValueError(f"it is of mode {picture.mode}, no picture of colours or greys")
            return np.asarray(picture.convert("RGB"))
    except Exception as error:  # whatever a broken picture raises
        raise RobotError(f"topic {topic}: a picture cannot be read: {error}") from error


def _decode(message: Any, topic: str) -> np.ndarray:
    if message.encoding not in CHANNELS:
        raise RobotError(
            f"topic {topic} has pictures of encoding {message.encoding!r}; "
            f"valid: {', '.join(CHANNELS)}"
        )
    count, order = CHANNELS[message.encoding]
    used = message.width * count
    if message.step < used or len(message.data) < message.step * message.height:
        raise RobotError(f"topic {topic}: a picture is shorter than it says")
    rows = message.data[: message.step * message.height].reshape(message.height, message.step)
    pixels = rows[:, :used].reshape(message.height, message.width, count)
    return np.ascontiguousarray(pixels[..., list(order)])
