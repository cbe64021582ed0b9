"""Maps of arrays as bytes, in the coding of openpi's clients: msgpack, and arrays as raw numbers.

An array is a map of its bytes, its dtype and its shape, under the keys that openpi-client 0.1.2
uses. What comes in is numbers and texts only, whatever it says of itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from ..errors import ProtocolError, refusing

MOST_BYTES = 32 * 2**20  # of one message
MOST_ENTRIES = 4096  # of a map or a list
MOST_DIMENSIONS = 8
MOST_DEPTH = 8  # of maps in maps
LONGEST_KEY = 256  # characters, joined
ARRAY = b"__ndarray__"
NUMBER = b"__npgeneric__"
NUMERIC = re.compile(r"[<>|=]?(b1|i[1248]|u[1248]|f[248])")


def pack(content: Mapping[str, Any]) -> bytes:
    """Return a message of plain values and arrays."""
    return msgpack.packb(content, default=_encode)  # pyright: ignore[reportReturnType]


def unpack(message: bytes) -> dict[str, Any]:
    """Return what a message holds, its arrays read-only; ProtocolError where it is none."""
    if len(message) > MOST_BYTES:
        raise ProtocolError(f"a message has at most {MOST_BYTES} bytes, not {len(message)}")
    with refusing(ProtocolError, "what came is no msgpack map of numbers, texts and arrays"):
        content = msgpack.unpackb(
            message,
            object_hook=_decode,
            strict_map_key=False,
            max_array_len=MOST_ENTRIES,
            max_map_len=MOST_ENTRIES,
            max_ext_len=0,
        )
    if not isinstance(content, dict):
        raise ProtocolError(f"a message is a map, not {type(content).__name__}")
    return content


def flatten(content: Mapping[Any, Any], prefix: str = "", depth: int = 1) -> dict[str, Any]:
    """Return a map of maps as one map, whose keys are joined by "/".

    Raises ProtocolError where maps are too deep, or their keys too long.
    """
    if depth > MOST_DEPTH:
        raise ProtocolError(f"maps lie in at most {MOST_DEPTH} maps")
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}" if isinstance(key, str) else ""
        if not 0 < len(name) <= LONGEST_KEY:
            raise ProtocolError(f"keys are texts, of at most {LONGEST_KEY} characters altogether")
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}/", depth + 1))
        else:
            flat[name] = value
    return flat


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray) and NUMERIC.fullmatch(value.dtype.str):
        content = np.ascontiguousarray(value).tobytes()
        return {ARRAY: True, b"data": content, b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {NUMBER: True, b"data": value.item(), b"dtype": value.dtype.str}
    raise ProtocolError(f"{type(value).__name__} cannot be sent")


def _decode(found: dict[Any, Any]) -> Any:
    if ARRAY in found:
        return _decode_array(found)
    if NUMBER in found:
        return _require_dtype(found.get(b"dtype")).type(found[b"data"])
    return found


def _decode_array(found: dict[Any, Any]) -> np.ndarray:
    dtype = _require_dtype(found.get(b"dtype"))
    shape = found.get(b"shape")
    data = found.get(b"data")
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        raise ProtocolError(f"an array has no shape of at most {MOST_DIMENSIONS} numbers")
    if any(type(length) is not int or length < 0 for length in shape):
        raise ProtocolError(f"no array has the shape {shape}")
    if not isinstance(data, bytes) or math.prod(shape) * dtype.itemsize != len(data):
        raise ProtocolError(f"an array of {dtype} and shape {shape} has another number of bytes")
    return np.frombuffer(data, dtype).reshape(shape)


def _require_dtype(name: Any) -> np.dtype:
    if not isinstance(name, str) or not NUMERIC.fullmatch(name):
        raise ProtocolError(f"an array is of numbers, not of {name!r}")
    return np.dtype(name)
