"""EncodedImages: the images of a field, each compressed on its own.

So one is decoded without the others.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numcodecs import Zstd

from ...envs import DataError
from ...envs.errors import pick, refusing
from ...envs.files import require_plain
from .codecs import zstd_size
from .image_files import open_picture

READ = 2**23  # bytes of raw pictures that are read at once
CHUNK = 2**20  # bytes of a file; the last one is written again by every append
QUALITY = (
    95  # of JPEG, with colours at full resolution: a 640x480 camera takes 0.1 MB instead of 0.6
)


@dataclass(frozen=True)
class Encoding:
    """From a picture (height, width, 3) to bytes, and back."""

    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes, tuple[int, ...]], np.ndarray]


def _to_jpeg(picture: np.ndarray) -> bytes:
    from PIL import Image

    out = BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue()


def _from_jpeg(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    return open_picture(content, (shape[0], shape[1]), ("JPEG",)).reshape(shape)


ZSTD = Zstd(1)  # stronger ones take longer and gain nothing on pictures with noise


def _to_zstd(picture: np.ndarray) -> bytes:
    return ZSTD.encode(np.ascontiguousarray(picture))


def _from_zstd(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    size = zstd_size(content)
    if size != np.prod(shape):
        raise ValueError(f"it holds {size} bytes in place of {np.prod(shape)}")
    return np.frombuffer(ZSTD.decode(content), "u1").reshape(shape)


ENCODINGS = {
    "lossless": Encoding(_to_zstd, _from_zstd),
    "jpeg": Encoding(_to_jpeg, _from_jpeg),
}


class EncodedImages(Sequence[np.ndarray]):
    """T encoded pictures.

    Indexing decodes one, slicing none, and numpy sees an array (T, height, width, 3) uint8.

    where: the place that a DataError names.
    """

    dtype = np.dtype("uint8")

    def __init__(
        self, encoded: Sequence[bytes], shape: tuple[int, ...], encoding: str, where: str = ""
    ) -> None:
        self.encoded = encoded
        self.encoding = encoding
        self.shape = (len(encoded), *shape)
        self._where = where
        self._decode = pick(ENCODINGS, encoding, "encoding of images").decode

    @classmethod
    def encode(cls, pictures: EncodedImages | np.ndarray, encoding: str) -> EncodedImages:
        """Compress (T, height, width, 3)."""
        encode = pick(ENCODINGS, encoding, "encoding of images").encode
        return cls([encode(picture) for picture in pictures], pictures.shape[1:], encoding)

    @property
    def nbytes(self) -> int:
        """Size in memory, encoded."""
        return sum(map(len, self.encoded))

    def __len__(self) -> int:
        return len(self.encoded)

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(len(self)):
            yield self[index]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return EncodedImages(self.encoded[index], self.shape[1:], self.encoding, self._where)
        if not isinstance(index, int | np.integer):
            return np.asarray(self)[index]
        return self.decode(int(index), self.encoded[int(index)])

    def decode(self, index: int, content: bytes) -> np.ndarray:
        """Decode picture `index`, whose bytes `encoded[index]` gave; DataError where damaged."""
        try:
            return self._decode(content, self.shape[1:])
        except Exception as error:  # whatever decoders raise
            where = f"{self._where}: " if self._where else ""
            raise DataError(f"{where}picture {index} is damaged: {error}") from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        out = np.empty(self.shape, dtype or self.dtype)
        for index, picture in enumerate(self):
            out[index] = picture
        return out


class Spool(Sequence[bytes]):
    """Byte strings by number, in a temporary file.

    The pictures of a long episode may not fit the memory.
    """

    def __init__(self, count: int) -> None:
        self._file = TemporaryFile()  # noqa: SIM115  (open as long as this lives)
        self._places = [(0, 0)] * count  # start and size of each
        weakref.finalize(self, self._file.close)

    def put(self, content: bytes, *numbers: int) -> None:
        """Keep this under these numbers."""
        start = self._file.seek(0, SEEK_END)
        self._file.write(content)
        for number in numbers:
            self._places[number] = start, len(content)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        start, size = self._places[index]
        self._file.seek(start)
        return self._file.read(size)


class RawFrames(Sequence[bytes]):
    """Frames start to stop of an array (N, height, width, 3) on disk.

    They are read and encoded as they are asked for, in order.

    array: of HDF5 or zarr; where: what a DataError calls it.
    """

    def __init__(self, array: Any, start: int, stop: int, encoding: str, where: str) -> None:
        self._array = array
        self._range = range(start, stop)
        self._where = where
        self._encode = pick(ENCODINGS, encoding, "encoding of images").encode
        chunk_frames = array.chunks[0] if array.chunks else 1
        chunk_bytes = chunk_frames * int(np.prod(array.shape[1:]))
        self._block_frames = max(READ // chunk_bytes, 1) * chunk_frames
        self._block = -1  # number of the block in memory
        self._first = 0  # its first frame
        self._pictures = np.empty(0)

    def __len__(self) -> int:
        return len(self._range)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        frame = self._range[index]
        block = frame // self._block_frames
        if block != self._block:
            self._read_block(block)
        return self._encode(self._pictures[frame - self._first])

    def _read_block(self, block: int) -> None:
        self._block = -1
        self._pictures = np.empty(0)  # before the next ones take memory
        first = max(block * self._block_frames, self._range.start)
        stop = min((block + 1) * self._block_frames, self._range.stop)
        with refusing(DataError, f"cannot read {self._where} from frame {first} on", self._where):
            self._pictures = np.asarray(self._array[first:stop])
        self._first = first
        self._block = block


def encode_all(pictures: EncodedImages | np.ndarray, encoding: str) -> Sequence[bytes]:
    """Return the bytes of pictures in an encoding; what has it already is not touched."""
    if not isinstance(pictures, EncodedImages) or pictures.encoding != encoding:
        pictures = EncodedImages.encode(pictures, encoding)
    return pictures.encoded


class Blobs(Sequence[bytes]):
    """Byte strings in files of CHUNK bytes, read as they are asked for.

    bounds (N, 2): where each begins and ends.
    """

    def __init__(self, folder: Path, bounds: np.ndarray) -> None:
        self._folder = folder
        self._bounds = bounds

    def __len__(self) -> int:
        return len(self._bounds)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        start, stop = self._bounds[index].tolist()
        parts = []
        while start < stop:
            file, offset = divmod(start, CHUNK)
            part = self._read(file, offset, min(stop - start, CHUNK - offset))
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _read(self, file: int, offset: int, size: int) -> bytes:
        path = self._folder / "c" / str(file)
        require_plain(path, self._folder.parents[2])  # of the store
        try:
            with open(path, "rb", buffering=0) as chunk:
                chunk.seek(offset)
                content = chunk.read(size)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        if len(content) != size:
            raise DataError(f"{path} is damaged: it ends too early")
        return content
