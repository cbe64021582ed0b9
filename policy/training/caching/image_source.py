"""The recorded pictures of a camera in a store, and how a change of them is noticed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from math import prod
from pathlib import Path

import numpy as np

from ....demos.storage.images import EncodedImages
from ....demos.store import DemoStore
from ....envs import ConfigError, DataError
from ....envs.errors import pick, refusing
from ....envs.pictures import resize, seen_size


@dataclass(frozen=True)
class ImageSource:
    """Recorded pictures of a camera, those of deleted episodes included, and the size wanted.

    store: where they lie; key: of the camera; shape: (height, width, 3) as recorded;
    encoding: how they are compressed; frames: how many there are; size: (height, width) that they
    are brought to; signature: of the files that hold them, before any was read.

    Two marks tell whether pictures are still the same. The digest is strong: it covers every byte
    of every compressed picture. It costs nothing while pictures are decoded, which reads them
    anyway, but seconds for each 10 GB of raw pictures later on. The signature is cheap: a digest
    over name, size, times and inode of every file, as a system for version control compares them. A
    writer replaces files and so changes it; where it is the same, no content is read. A copy of a
    store has another signature and the same digest.
    """

    store: Path
    key: str
    shape: tuple[int, ...]
    encoding: str
    frames: int
    size: tuple[int, int]
    signature: str

    @property
    def frame_bytes(self) -> int:
        """Return what one picture takes, resized and not compressed."""
        return 3 * prod(self.size)

    def read(self, start: int, stop: int) -> Iterator[tuple[bytes, np.ndarray]]:
        """Yield the hash of each picture's bytes, and the picture at the size wanted (h, w, 3)."""
        images = _open(self)
        for frame in range(start, stop):
            with self._naming_store():
                content = images.encoded[frame]
                picture = images.decode(frame, content)
            yield sha256(content).digest(), resize(picture, self.size)

    def digest(self, frames: int) -> str:
        """Return the digest of the first `frames` pictures; none of them is decoded."""
        images = _open(self)
        digest = ""
        for frame in range(frames):
            with self._naming_store():
                digest = extend_digest(digest, [sha256(images.encoded[frame]).digest()])
        return digest

    def require_unchanged(self, digest: str) -> None:
        """Raise DataError where the store no longer holds the pictures that have this digest."""
        now = sign(self.store, self.key)
        if now == self.signature:
            return
        # An append changes files as well, and none of the pictures that were there before.
        _open.cache_clear()
        if self.digest(self.frames) != digest:
            raise DataError(f"{self.store} was replaced while its pictures were read: start again")

    def _naming_store(self) -> AbstractContextManager[None]:
        return refusing(DataError, f"cannot read {self.store}, {self.key}", self.store)


def find_source(store: Path, key: str, side: int) -> ImageSource:
    """Describe the pictures of a camera; side: to which the shorter one of theirs is brought."""
    if side < 1:
        raise ConfigError(f"pictures need a side of at least 1 px, not {side}")
    signature = sign(store, key)
    recorded = DemoStore.open(store, deleted=True)
    field = pick(recorded.spec.images, key, "camera")
    size = seen_size(field.shape, side)
    return ImageSource(
        store, key, tuple(field.shape), recorded.images, recorded.frames, size, signature
    )


def extend_digest(digest: str, hashes: Iterable[bytes]) -> str:
    """Return the digest of some pictures and those that follow, which have these hashes."""
    state = bytes.fromhex(digest)
    for picture in hashes:
        state = sha256(state + picture).digest()
    return state.hex()


def sign(store: Path, key: str) -> str:
    """Return the signature of the files that hold the pictures of a camera."""
    folder = store / "data" / key
    seen = sha256()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(place, name)
            with suppress(FileNotFoundError):  # of a writer that has renamed it
                stat = file.stat()
                times = f"{stat.st_mtime_ns} {stat.st_ctime_ns}"
                seen.update(
                    f"{file.relative_to(folder)} {stat.st_size} {times} {stat.st_ino}\n".encode()
                )
    return seen.hexdigest()


@lru_cache(maxsize=1)  # a process decodes many parts of one source
def _open(source: ImageSource) -> EncodedImages:
    store = DemoStore.open(source.store, deleted=True)
    return store.pictures(source.key)
