"""Stores of zarr that give whole chunks, decoded by closed tables, or an error."""

from __future__ import annotations

import zipfile
from pathlib import PurePosixPath
from typing import Any

from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import LocalStore, ZipStore

from ....envs import DataError, caps
from ....envs.caps import require_room
from ....envs.errors import refusing
from ....envs.files import require_plain
from ...storage.atomic_store import measure_stored
from ...storage.zarr_layout import Layout, require_chunk, require_ours, strip_codecs

META = (".zarray", ".zattrs", ".zgroup", "zarr.json")  # what is no chunk
COPIES = ".zmetadata"  # of all descriptions: never read, since they could differ from those
PACKED = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}


class WholeStore:
    """Refuses what is lost, cut short, larger than it says, or encoded in a way not in our table.

    zarr makes zeros of what is lost, and lets a file name the code that decodes it. So arrays of
    zarr v2 are decoded here, and zarr is told that they are plain.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.place = str(self).partition("://")[2]
        self._layouts: dict[str, Layout] = {}

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Buffer | None:
        """Return one file; of a chunk of zarr v2, its numbers."""
        name = key.rpartition("/")[2]
        if name == COPIES:
            return None
        prototype = prototype or default_buffer_prototype()
        if name in META:
            self._require_small(key, caps.JSON)
            content = await super().get(key, prototype, None)  # pyright: ignore
            return None if content is None else self._describe(key, content, prototype)
        layout = self._find_layout(key)
        self._require_small(key, layout.max_file_size)
        content = await super().get(key, prototype, None)  # pyright: ignore
        return self._decode(key, layout, content, prototype)

    def _find_layout(self, key: str) -> Layout:
        for parent in PurePosixPath(key).parents:
            layout = self._layouts.get(str(parent))
            if layout is not None:
                return layout
        raise DataError(f"{self.place}: nothing describes {key}")

    def _decode(self, key: str, layout: Layout, content: Buffer | None, prototype: Any) -> Buffer:
        """Return the numbers of a chunk of zarr v2; a whole chunk of v3 as it is."""
        if content is None:
            raise DataError(
                f"{self.place} lacks {key}: fetch it, or write the array again,"
                " zeros as well (write_empty_chunks)"
            )
        where = f"{self.place} has only a part of {key}: fetch it again"
        if layout.v3:
            require_chunk(layout, content.to_bytes(), where)
            return content
        with refusing(DataError, where):
            return prototype.buffer.from_bytes(
                bytes(layout.decode_chunk(content.to_bytes(), where))
            )

    def _describe(self, key: str, content: Buffer, prototype: Any) -> Buffer:
        """Remember how the chunks of an array are laid out, and return its description."""
        folder, _, name = key.rpartition("/")
        where = f"cannot read {self.place}, {folder}/{name}"
        if name == ".zarray":
            self._layouts[folder], plain = strip_codecs(content.to_bytes(), where)
            return prototype.buffer.from_bytes(plain)
        if name == "zarr.json":
            layout = require_ours(content.to_bytes(), where)
            if layout:
                self._layouts[folder] = layout
        return content

    def _require_small(self, key: str, most: int) -> None:
        """Raise DataError where a file has more than `most` bytes."""
        raise NotImplementedError


class Folder(WholeStore, LocalStore):
    """A folder."""

    def stored(self, folder: str) -> int:
        """Return how many bytes the files of an array take."""
        return measure_stored(self.root / folder)

    def _require_small(self, key: str, most: int) -> None:
        path = self.root / key
        require_plain(path, self.root)
        if not path.is_file():
            return
        size = path.stat().st_size
        if size > most:
            raise DataError(f"{path} has {size} bytes, at most {most} can belong to it")


class Archive(WholeStore, ZipStore):
    """A zip archive."""

    def stored(self, folder: str) -> int:
        """Return how many bytes the files of an array take."""
        size = 0
        for info in self._zf.infolist():
            if info.filename.startswith(f"{folder}/"):
                size += info.compress_size
        return size

    def _require_small(self, key: str, most: int) -> None:
        try:
            if not self._is_open:
                self._sync_open()
            info = self._zf.getinfo(key)
        except KeyError:
            return
        where = f"{self.path} holds {key}"
        if info.compress_size > self.path.stat().st_size:
            raise DataError(
                f"{self.path} is damaged: it says that {key} takes {info.compress_size} bytes of it"
            )
        if info.compress_type not in PACKED:
            raise DataError(f"{where} packed in another way than {' or '.join(PACKED.values())}")
        if info.file_size > most:
            raise DataError(f"{where} of {info.file_size} bytes, at most {most} can belong to it")
        require_room(info.file_size, info.compress_size, f"{self.path}, {key}")
