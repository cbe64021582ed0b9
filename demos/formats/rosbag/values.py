"""What a ROS message holds: the time it stands for, numbers, or a picture."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from PIL import Image

from ....envs import DataError, caps
from ....envs.errors import names
from ...storage.image_files import open_picture
from .fields import Entry

CAMERAS = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
ENCODINGS = {  # of sensor_msgs/Image: channels, and which of them are red, green and blue
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}
CODECS, MODES = ("JPEG", "PNG"), ("RGB", "RGBA", "L")
MANY = 64  # a longer array is no state of a robot


def stamp(message: Any) -> int:
    """The time in the header [ns], 0 where there is none."""
    time = getattr(getattr(message, "header", None), "stamp", None)
    return getattr(time, "sec", 0) * 10**9 + getattr(time, "nanosec", 0)


def joints(message: Any) -> tuple[str, ...]:
    """The names that a message gives to its numbers."""
    found = getattr(message, "name", getattr(message, "joint_names", None))
    return (
        tuple(found)
        if isinstance(found, list) and all(isinstance(name, str) for name in found)
        else ()
    )


def paths(message: Any, start: str = "") -> Iterator[str]:
    """Every dotted path in a message that leads to numbers; of a list, those of its first element."""
    if (values := numbers(message)) is not None:
        yield from [start] if 0 < len(values) <= MANY else []
        return
    for name, part in _parts(message[:1] if isinstance(message, list) else message).items():
        if name not in ("header", "layout"):
            yield from paths(part, f"{start}.{name}".strip("."))


def numbers(part: Any) -> np.ndarray | None:
    """(n,) what a number, an array or a struct of numbers holds, None for all else; quaternions become w, x, y, z."""
    if is_dataclass(part):
        parts = _parts(part)
        if not parts or not all(
            isinstance(x, bool | int | float | np.number) for x in parts.values()
        ):
            return None
        return np.array(
            [parts[key] for key in ("wxyz" if is_quaternion(part) else parts)], np.float64
        )
    array = np.asarray(part)
    return array.astype(np.float64).ravel() if array.dtype.kind in "fiub" else None


def is_quaternion(part: Any) -> bool:
    """Whether this is a struct x, y, z, w."""
    return is_dataclass(part) and list(_parts(part)) == list("xyzw")


def follow(message: Any, path: str) -> Any:
    """The part of a message to which a dotted path leads."""
    for name in filter(None, path.split(".")):
        parts = _parts(message)
        if name not in parts:
            raise DataError(f"no {name!r} on the way to {path!r}; valid: {names(parts)}")
        message = parts[name]
    return message


def value(message: Any, entry: Entry) -> np.ndarray | None:
    """(n,) the numbers of a field; None where the message is about joints that the field does not name."""
    found = numbers(follow(message, entry.value))
    if found is None:
        raise DataError(
            f"{entry.value or 'the message'!r} is no number, array or struct of numbers; {_valid(message)}"
        )
    known = joints(message)
    if not (known and entry.names):
        return found
    if not set(entry.names) & set(known):
        return None
    if missing := set(entry.names) - set(known):
        raise DataError(f"no joint {names(missing)}; valid: {names(known)}")
    if len(known) != len(found):
        raise DataError(
            f"{entry.value!r} has {len(found)} numbers for {len(known)} joints; {_valid(message)}"
        )
    return found[[known.index(name) for name in entry.names]]


def picture(message: Any, size: tuple[int, ...]) -> np.ndarray:
    """(h, w, 3) uint8, RGB, squeezed to `size` (height, width) where one is given."""
    parts = _parts(message)
    if "encoding" not in parts and "format" not in parts:
        raise DataError(f"no picture; valid: messages of {names(CAMERAS)}")
    pixels = _raw(message) if "encoding" in parts else _compressed(message)
    if size and pixels.shape[:2] != size:
        pixels = np.asarray(
            Image.fromarray(pixels).resize([*size[::-1]], Image.Resampling.BILINEAR)
        )
    return pixels


def _raw(message: Any) -> np.ndarray:
    if message.encoding not in ENCODINGS:
        raise DataError(f"images are encoded as {message.encoding!r}; valid: {names(ENCODINGS)}")
    channels, order = ENCODINGS[message.encoding]
    height, width, step = message.height, message.width, message.step
    if height * width > caps.PIXELS:
        raise DataError(
            f"an image has {height} x {width} pixels, at most {caps.PIXELS} are read (PIXELS)"
        )
    if not height or not width or step < width * channels or len(message.data) < height * step:
        raise DataError(
            f"an image of {height} x {width} in rows of {step} bytes cannot have {len(message.data)} bytes"
        )
    rows = np.asarray(message.data, np.uint8)[: height * step].reshape(height, step)[
        :, : width * channels
    ]
    return np.ascontiguousarray(rows.reshape(height, width, channels)[:, :, order])


def _compressed(message: Any) -> np.ndarray:
    what = f"an image of format {message.format!r}"
    if "compresseddepth" in message.format.lower():
        raise DataError(f"{what} is of depth; valid: colour or grey of 8 bits")
    pixels = open_picture(bytes(message.data), None, CODECS, MODES, what)
    # OpenCV's encoder expects BGR; where image_transport says that it got RGB, red and blue are exchanged
    return pixels[:, :, ::-1] if "compressed rgb" in message.format else pixels


def _parts(message: Any) -> dict[str, Any]:
    if isinstance(message, list):
        return {str(k): part for k, part in enumerate(message)}
    if not is_dataclass(message):
        return {}
    # constants of a message, and its type, are marked by a name that dataclasses cannot resolve: they seem fields
    return {
        f.name: getattr(message, f.name)
        for f in fields(message)
        if not str(f.type).startswith("ClassVar")
    }


def _valid(message: Any) -> str:
    return f"valid: {names(paths(message))}"
