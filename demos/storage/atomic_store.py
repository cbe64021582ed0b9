"""AtomicStore: a zarr folder whose files change in one step.

They are checked before they are decoded.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from ...envs import DataError, caps
from ...envs.atomic_files import sync_folder, write_beside
from ...envs.files import require_plain
from .zarr_layout import Layout, require_chunk, require_ours

BLOCK = 4096  # bytes


class AtomicStore(LocalStore):
    """A zarr folder of ours whose files change in one step, even where the process is killed.

    zarr itself wrote in place before its release 3.1.3, and never waits for the disk. The disk
    knows the names of what was written once `sync_folders` has returned. What is read is first
    compared with what fewstep writes: format 3, numbers, and chunks that decode to no more than
    their array says.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._layouts: dict[str, Layout] = {}
        self._written: set[Path] = set()  # folders whose files the disk may know by old names

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Buffer | None:
        """Read one file, or a part of it."""
        path = self.root / key
        require_plain(path, self.root)
        if path.name == "zarr.json":
            _require_size(path, caps.JSON)
            found = await super().get(key, prototype, byte_range)
            if found is not None:
                self._note_layout(key, found.to_bytes())
            return found
        layout = self._layouts.get(key.rpartition("/c/")[0])
        _require_size(path, caps.JSON if layout is None else layout.max_file_size)
        found = await super().get(key, prototype, byte_range)
        if found is not None and layout is not None and byte_range is None:
            require_chunk(layout, found.to_bytes(), f"{path} is damaged")
        return found

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file; the only writer of a store overwrites what a killed one left behind."""
        self._check_writable()
        path = self.root / key
        if not self.root.is_dir():
            raise DataError(f"cannot write {path}: its store was removed")
        await asyncio.to_thread(write_beside, path, f"{path.name}.partial", value.to_bytes())
        self._written.add(path.parent)

    def _note_layout(self, key: str, description: bytes) -> None:
        layout = require_ours(description, f"{self.root / key} is damaged")
        if layout is not None:
            self._layouts[key.rpartition("/")[0]] = layout

    def sync_folders(self) -> None:
        """Wait until the disk knows everything that was written by its name."""
        for folder in self._written:
            sync_folder(folder)
        self._written.clear()


def _require_size(path: Path, most: int) -> None:
    if not path.is_file():
        return
    size = path.stat().st_size
    if size > most:
        raise DataError(f"{path} is damaged: it has {size} bytes, at most {most} can belong to it")


def measure_stored(folder: Path) -> int:
    """Return the bytes that the files of a folder take; each takes a block of the disk at least."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            total += max(Path(place, name).lstat().st_size, BLOCK)
    return total
