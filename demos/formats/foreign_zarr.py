"""Stores of zarr that give whole chunks, decoded by closed tables, or an error."""

from __future__ import annotations

import zipfile
from pathlib import PurePosixPath
from typing import Any

from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import LocalStore, ZipStore

from ...envs import DataError, caps
from ...envs.caps import require_room
from ...envs.errors import refusing
from ...envs.files import require_plain
from ..storage.atomic_store import stored
from ..storage.zarr_layout import Layout, require_chunk, require_ours, undressed

META = (".zarray", ".zattrs", ".zgroup", "zarr.json")  # what is no chunk
COPIES = ".zmetadata"  # of all descriptions: never read, since they could differ from those
PACKED = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}


class Whole:
    """Refuses what is lost, cut short, larger than it says, or encoded in a way not in our table.

    zarr makes zeros of what is lost, and lets a file name the code that decodes it. So arrays of
    zarr v2 are decoded here, and zarr is told that they are plain.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.place = str(self).partition("://")[2]
        self._layouts: dict[str, Layout] = {}

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Buffer | None:
        """One file; of a chunk of zarr v2, its numbers."""
        folder, _, name = key.rpartition("/")
        if name == COPIES:
            return None
        prototype = prototype or default_buffer_prototype()
        layout = None if name in META else self._layout(key)
        self._require_small(key, caps.JSON if layout is None else layout.most)
        found = await super().get(key, prototype, None)  # pyright: ignore
        if layout is None:
            return found if found is None else self._described(folder, name, found, prototype)
        if found is None:
            raise DataError(
                f"{self.place} lacks {key}: fetch it, or write the array again, zeros as well (write_empty_chunks)"
            )
        where = f"{self.place} has only a part of {key}: fetch it again"
        if layout.v3:
            require_chunk(layout, found.to_bytes(), where)
            return found
        with refusing(DataError, where):
            return prototype.buffer.from_bytes(bytes(layout.plain(found.to_bytes(), where)))

    def _layout(self, key: str) -> Layout:
        for parent in PurePosixPath(key).parents:
            if (found := self._layouts.get(str(parent))) is not None:
                return found
        raise DataError(f"{self.place}: nothing describes {key}")

    def _described(self, folder: str, name: str, found: Buffer, prototype: Any) -> Buffer:
        where = f"cannot read {self.place}, {folder}/{name}"
        if name == ".zarray":
            self._layouts[folder], plain = undressed(found.to_bytes(), where)
            return prototype.buffer.from_bytes(plain)
        if name == "zarr.json" and (layout := require_ours(found.to_bytes(), where)):
            self._layouts[folder] = layout
        return found

    def _require_small(self, key: str, most: int) -> None:
        raise NotImplementedError


class Folder(Whole, LocalStore):
    """A folder."""

    def stored(self, folder: str) -> int:
        """Bytes that the files of an array take."""
        return stored(self.root / folder)

    def _require_small(self, key: str, most: int) -> None:
        path = self.root / key
        require_plain(path, self.root)
        if path.is_file() and (size := path.stat().st_size) > most:
            raise DataError(f"{path} has {size} bytes, at most {most} can belong to it")


class Archive(Whole, ZipStore):
    """A zip archive."""

    def stored(self, folder: str) -> int:
        """Bytes that the files of an array take."""
        files = (info for info in self._zf.infolist() if info.filename.startswith(f"{folder}/"))
        return sum(info.compress_size for info in files)

    def _require_small(self, key: str, most: int) -> None:
        try:
            if not self._is_open:
                self._sync_open()
            info = self._zf.getinfo(key)
        except KeyError:
            return
        if info.compress_size > self.path.stat().st_size:
            raise DataError(
                f"{self.path} is damaged: it says that {key} takes {info.compress_size} bytes of it"
            )
        if info.compress_type not in PACKED:
            raise DataError(
                f"{self.path} holds {key} packed in another way than {' or '.join(PACKED.values())}"
            )
        if info.file_size > most:
            raise DataError(
                f"{self.path} holds {key} of {info.file_size} bytes, at most {most} can belong to it"
            )
        require_room(info.file_size, info.compress_size, f"{self.path}, {key}")
