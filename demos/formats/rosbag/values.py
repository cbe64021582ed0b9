"""What a ROS message holds: the time it stands for, numbers, or a picture."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from PIL import Image

from ....envs import DataError, caps
from ....envs.errors import names
from ...storage.image_files import open_picture
from .fields import FieldEntry

CAMERAS = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
PIXEL_FORMATS = {  # of sensor_msgs/Image: channels, and which of them are red, green and blue
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}
CODECS = ("JPEG", "PNG")
MODES = ("RGB", "RGBA", "L")
LONGEST_STATE = 64  # a longer array is no state of a robot


def header_time(message: Any) -> int:
    """Return the time in the header [ns], 0 where there is none."""
    time = getattr(getattr(message, "header", None), "stamp", None)
    return getattr(time, "sec", 0) * 10**9 + getattr(time, "nanosec", 0)


def joint_names(message: Any) -> tuple[str, ...]:
    """Return the names that a message gives to its numbers."""
    found = getattr(message, "name", getattr(message, "joint_names", None))
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return tuple(found)
    return ()


def find_numbers(message: Any, start: str = "") -> Iterator[str]:
    """Yield every dotted path in a message that leads to numbers.

    Of a list, the paths of its first element stand for all.
    """
    values = read_numbers(message)
    if values is not None:
        if 0 < len(values) <= LONGEST_STATE:
            yield start
        return
    first = message[:1] if isinstance(message, list) else message
    for name, part in _parts(first).items():
        if name not in ("header", "layout"):
            yield from find_numbers(part, f"{start}.{name}".strip("."))


def read_numbers(part: Any) -> np.ndarray | None:
    """Return what a number, an array or a struct of numbers holds, (n,), None for all else.

    Quaternions become w, x, y, z.
    """
    if is_dataclass(part):
        return _struct_numbers(part)
    array = np.asarray(part)
    return array.astype(np.float64).ravel() if array.dtype.kind in "fiub" else None


def _struct_numbers(part: Any) -> np.ndarray | None:
    parts = _parts(part)
    if not parts:
        return None
    for value in parts.values():
        if not isinstance(value, bool | int | float | np.number):
            return None
    order = "wxyz" if is_quaternion(part) else parts
    return np.array([parts[key] for key in order], np.float64)


def is_quaternion(part: Any) -> bool:
    """Return whether this is a struct x, y, z, w."""
    return is_dataclass(part) and list(_parts(part)) == list("xyzw")


def follow_path(message: Any, path: str) -> Any:
    """Return the part of a message to which a dotted path leads."""
    for name in filter(None, path.split(".")):
        parts = _parts(message)
        if name not in parts:
            raise DataError(f"no {name!r} on the way to {path!r}; valid: {names(parts)}")
        message = parts[name]
    return message


def read_field(message: Any, entry: FieldEntry) -> np.ndarray | None:
    """Return the numbers of a field, (n,).

    None where the message is about joints that the field does not name.
    """
    found = read_numbers(follow_path(message, entry.value))
    if found is None:
        raise DataError(
            f"{entry.value or 'the message'!r} is no number, array or struct of numbers;"
            f" {_valid_paths(message)}"
        )
    known = joint_names(message)
    if not known or not entry.names:
        return found
    missing = set(entry.names) - set(known)
    if len(missing) == len(set(entry.names)):
        return None
    if missing:
        raise DataError(f"no joint {names(missing)}; valid: {names(known)}")
    if len(known) != len(found):
        raise DataError(
            f"{entry.value!r} has {len(found)} numbers for {len(known)} joints;"
            f" {_valid_paths(message)}"
        )
    return found[[known.index(name) for name in entry.names]]


def read_image(message: Any, size: tuple[int, ...]) -> np.ndarray:
    """Return (h, w, 3) uint8, RGB, squeezed to `size` (height, width) where one is given."""
    parts = _parts(message)
    if "encoding" in parts:
        pixels = _raw_pixels(message)
    elif "format" in parts:
        pixels = _compressed_pixels(message)
    else:
        raise DataError(f"no picture; valid: messages of {names(CAMERAS)}")
    if size and pixels.shape[:2] != size:
        height, width = size
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    return pixels


def _raw_pixels(message: Any) -> np.ndarray:
    if message.encoding not in PIXEL_FORMATS:
        raise DataError(
            f"images are encoded as {message.encoding!r}; valid: {names(PIXEL_FORMATS)}"
        )
    channels, order = PIXEL_FORMATS[message.encoding]
    height = message.height
    width = message.width
    step = message.step  # bytes of a row
    if height * width > caps.PIXELS:
        raise DataError(
            f"an image has {height} x {width} pixels, at most {caps.PIXELS} are read (PIXELS)"
        )
    if not height or not width or step < width * channels or len(message.data) < height * step:
        raise DataError(
            f"an image of {height} x {width} in rows of {step} bytes"
            f" cannot have {len(message.data)} bytes"
        )
    rows = np.asarray(message.data, np.uint8)[: height * step].reshape(height, step)
    pixels = rows[:, : width * channels].reshape(height, width, channels)
    return np.ascontiguousarray(pixels[:, :, order])


def _compressed_pixels(message: Any) -> np.ndarray:
    what = f"an image of format {message.format!r}"
    if "compresseddepth" in message.format.lower():
        raise DataError(f"{what} is of depth; valid: colour or grey of 8 bits")
    pixels = open_picture(bytes(message.data), None, CODECS, MODES, what)
    # OpenCV's encoder expects BGR; where image_transport says that it got RGB, red and blue are
    # exchanged
    return pixels[:, :, ::-1] if "compressed rgb" in message.format else pixels


def _parts(message: Any) -> dict[str, Any]:
    """Return the members of a message, or of a list by their numbers; none of all else."""
    parts: dict[str, Any] = {}
    if isinstance(message, list):
        for index, part in enumerate(message):
            parts[str(index)] = part
        return parts
    if not is_dataclass(message):
        return parts
    for member in fields(message):
        # constants of a message, and its type, are marked by a name that dataclasses cannot
        # resolve: they seem fields
        if not str(member.type).startswith("ClassVar"):
            parts[member.name] = getattr(message, member.name)
    return parts


def _valid_paths(message: Any) -> str:
    return f"valid: {names(find_numbers(message))}"
