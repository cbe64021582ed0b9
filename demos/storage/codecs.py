"""What decodes the chunks of foreign arrays: a closed table.

What a file names is sought nowhere else.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numcodecs import LZ4, Blosc, Zstd

from ...envs import FewstepError
from .image_files import open_picture

Decode = Callable[[bytes, tuple[int, ...], np.dtype], Any]  # content, shape and type -> numbers
PICTURES = ("JPEG", "JPEG2000", "PNG", "WEBP")
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def zstd_size(content: bytes) -> int | None:
    """Return the bytes that a frame of Zstandard says it decodes to; None where it does not say.

    RFC 8878, section 3.1.1.1.
    """
    if content[:4] != ZSTD_MAGIC or len(content) < 5:
        raise ValueError("no frame of Zstandard")
    descriptor = content[4]
    single = descriptor >> 5 & 1
    start = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    length = (single, 2, 4, 8)[descriptor >> 6]
    if not length:
        return None
    return int.from_bytes(content[start : start + length], "little") + (256 if length == 2 else 0)


def _size(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return int(np.prod(shape, dtype=object)) * dtype.itemsize


def _blosc(content: bytes, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    said = int.from_bytes(content[4:8], "little")
    stored = int.from_bytes(content[12:16], "little")
    if stored > len(content):
        said = -1
    return _decode_into(Blosc(), content, said, _size(shape, dtype))


def _lz4(content: bytes, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    said = int.from_bytes(content[:4], "little")
    return _decode_into(LZ4(), content, said, _size(shape, dtype))


def _zstd(content: bytes, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    return _decode_into(Zstd(), content, zstd_size(content), _size(shape, dtype))


def _decode_into(codec: Any, content: bytes, said: int | None, size: int) -> Any:
    """Decode into a buffer of the right size: never more is taken, whatever follows."""
    if said not in (size, None):
        raise ValueError(f"{said} bytes in place of {size}")
    return codec.decode(content, np.empty(size, np.uint8))


def _stream(make: Callable[[], Any]) -> Decode:
    """Decode with what stops after as many bytes as it is told."""

    def decode(content: bytes, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        size = _size(shape, dtype)
        found = make().decompress(content, size + 1)
        if len(found) != size:
            raise ValueError(f"{len(found)} bytes in place of {size}")
        return found

    return decode


def _picture(content: bytes, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    height, width, *_ = _squeezed(shape)
    pixels = open_picture(content, (height, width), PICTURES)
    return pixels.astype(dtype, copy=False)


def _jpeg_xl(content: bytes, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    try:
        import imagecodecs
    except ModuleNotFoundError as error:
        raise FewstepError(
            "images in JPEG XL need imagecodecs: pip install 'fewstep[formats]'"
        ) from error
    wanted = np.empty(_squeezed(shape), dtype)  # whose size is compared before anything is decoded
    return imagecodecs.jpegxl_decode(content, out=wanted)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """What is left where a chunk holds one picture."""
    return tuple(length for length in shape if length != 1)


COMPRESSORS: Mapping[str, Decode] = {
    "blosc": _blosc,
    "bz2": _stream(bz2.BZ2Decompressor),
    "gzip": _stream(lambda: zlib.decompressobj(wbits=47)),
    "lz4": _lz4,
    "lzma": _stream(lzma.LZMADecompressor),
    "zlib": _stream(lambda: zlib.decompressobj(wbits=47)),
    "zstd": _zstd,
    "imagecodecs_jpeg": _picture,
    "imagecodecs_jpeg2k": _picture,
    "imagecodecs_jpegxl": _jpeg_xl,
    "imagecodecs_png": _picture,
    "imagecodecs_webp": _picture,
}
