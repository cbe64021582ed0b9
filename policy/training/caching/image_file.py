"""The pictures of a camera at one size, raw in a file, and a description that says what they are.

`<camera>-<height>x<width>.<token>.rgb` holds them end to end. `<camera>-<height>x<width>.json`
names that file. So both change in one step, when the description is replaced, which is the last
thing that a build does: a file that no description names is what a killed build left behind.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from ....envs import DataError
from ....envs.atomic_files import replace as replace_file
from ....envs.files import require_plain
from ....envs.interrupts import uninterrupted
from ....envs.tables import read_json
from .image_decoding import Write, split_blocks
from .image_source import ImageSource, extend_digest

VERSION = 1
SAMPLES = 16  # pictures that are compared with those of the store before a file is used


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    file: its name; frames: how many pictures; digest, signature: see ImageSource.
    """

    file: str
    frames: int
    digest: str
    signature: str


NOTHING = Contents("", 0, "", "")


class ImageFile:
    """The pictures of a source, resized, in a folder."""

    def __init__(self, folder: Path, source: ImageSource) -> None:
        self.source = source
        self._folder = folder
        self._kept = NOTHING
        height, width = source.size
        self._stem = f"{source.key}-{height}x{width}"
        self._description = folder / f"{self._stem}.json"
        self._name = re.compile(rf"{re.escape(self._stem)}\.[0-9a-f]{{16}}\.rgb")

    def open(self) -> np.ndarray | None:
        """Return all pictures (frames, h, w, 3) uint8, mapped to be read; None where one lacks."""
        with suppress(DataError):
            contents = self._read_description()
            if contents.frames == self.source.frames:
                return self._map(contents)
        return None

    def prepare(self) -> str:
        """Keep what is of use, remove everything else, and return why that is not all.

        The caller is the only one who builds in the folder.
        """
        self._kept = NOTHING
        reason = "they follow those that are there"
        try:
            contents = self._read_description()
            self._map(contents)
            self._kept = contents
        except DataError as error:
            reason = str(error)
        self._remove_others()
        return reason

    @property
    def missing(self) -> int:
        """Return how many pictures are to be decoded, once `prepare` has been called."""
        return self.source.frames - self._kept.frames

    def build(self, write: Write, on_frames: Callable[[int], None]) -> None:
        """Decode what is missing, and describe the whole file as the last step.

        write: writes blocks. on_frames: is given how many pictures are done. Where anything fails,
        all is as `prepare` has left it.
        """
        start = self._kept.frames
        name = self._kept.file or f"{self._stem}.{secrets.token_hex(8)}.rgb"
        file = self._folder / name
        digest = self._kept.digest
        with self._undone_on_failure(file):
            if not start:
                file.touch(exist_ok=False)
            blocks = split_blocks(self.source, file, start)
            with closing(write(blocks)) as written:
                for block, hashes in zip(blocks, written, strict=True):
                    digest = extend_digest(digest, hashes)
                    on_frames(block.stop - start)
            self.source.require_unchanged(digest)
            _sync(file)
            contents = Contents(name, self.source.frames, digest, self.source.signature)
            with uninterrupted():
                self._describe(contents)
                self._kept = contents

    def _remove_others(self) -> None:
        """Remove files that are not kept, and what a killed build wrote past the kept pictures."""
        for entry in list(os.scandir(self._folder)):
            if self._name.fullmatch(entry.name) and entry.name != self._kept.file:
                os.unlink(entry.path)
        if self._kept.frames:
            size = self._kept.frames * self.source.frame_bytes
            os.truncate(self._folder / self._kept.file, size)

    @contextmanager
    def _undone_on_failure(self, file: Path) -> Iterator[None]:
        """Leave a file with the pictures that are kept if the block fails; without any, no file."""
        try:
            yield
        except BaseException:
            with uninterrupted(), suppress(OSError):
                if self._kept.frames:
                    os.truncate(file, self._kept.frames * self.source.frame_bytes)
                else:
                    file.unlink()
            raise

    def _describe(self, contents: Contents) -> None:
        description = self._expected() | asdict(contents)
        replace_file(self._description, json.dumps(description, indent=1).encode())

    def _expected(self) -> dict[str, Any]:
        """Return what a description of fitting pictures says, whatever the store holds."""
        return {
            "version": VERSION,
            "camera": self.source.key,
            "shape": list(self.source.shape),
            "size": list(self.source.size),
            "encoding": self.source.encoding,
            "pillow": PIL.__version__,  # another one may decode and resize a little differently
        }

    def _read_description(self) -> Contents:
        try:
            found = read_json(self._description, inside=self._folder)
        except FileNotFoundError as error:
            raise DataError("there are none yet") from error
        if not isinstance(found, dict):
            raise DataError(f"{self._description} is damaged")
        for name, expected in self._expected().items():
            value = found.get(name)
            if value != expected:
                raise DataError(f"{name} is now {expected}, and was {value!r:.50}")
        contents = self._parse(found)
        if contents.frames > self.source.frames:
            raise DataError("the store holds fewer pictures than before")
        return contents

    def _parse(self, found: dict[str, Any]) -> Contents:
        contents = Contents(
            str(found.get("file")),
            found.get("frames", 0),
            str(found.get("digest")),
            str(found.get("signature")),
        )
        is_named = self._name.fullmatch(contents.file)
        if not is_named or type(contents.frames) is not int or contents.frames < 1:
            raise DataError(f"{self._description} is damaged")
        return contents

    def _map(self, contents: Contents) -> np.ndarray:
        """Return the pictures of a file; DataError where they are not those of the source."""
        file = self._folder / contents.file
        require_plain(file, self._folder)
        shape = (contents.frames, *self.source.size, 3)
        try:
            size = file.stat().st_size
            if size < contents.frames * self.source.frame_bytes:
                raise DataError(f"{file.name} is cut off")
            rows = np.asarray(np.memmap(file, np.uint8, "r", shape=shape))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"cannot read {file.name}: {reason}") from error
        self._require_same(contents, rows)
        return rows

    def _require_same(self, contents: Contents, rows: np.ndarray) -> None:
        """Raise DataError where the pictures in a file are not the first ones of the source."""
        is_complete = contents.frames == self.source.frames
        if not is_complete or contents.signature != self.source.signature:
            self._require_same_bytes(contents)
        for frame in np.linspace(0, contents.frames - 1, SAMPLES, dtype=int):
            _, picture = next(self.source.read(int(frame), int(frame) + 1))
            if not np.array_equal(rows[frame], picture):
                raise DataError("its file holds other pictures than the store")

    def _require_same_bytes(self, contents: Contents) -> None:
        if self.source.digest(contents.frames) != contents.digest:
            raise DataError("the store holds other pictures now")
        if contents.frames == self.source.frames:  # a copy: next time a look is enough
            with suppress(OSError):
                self._describe(replace(contents, signature=self.source.signature))


def _sync(file: Path) -> None:
    """Wait until the disk has what several processes wrote into a file."""
    with open(file, "r+b") as written:
        os.fsync(written.fileno())
