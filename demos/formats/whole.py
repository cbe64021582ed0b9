"""Stores of zarr v2 that give whole chunks or an error."""

from functools import partial
from typing import Any

from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import LocalStore, ZipStore

from ...envs import DataError

META = (".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json")  # what is no chunk


class Whole:
    """Refuses chunks that are lost or cut short: zarr makes zeros of the former, and Blosc anything of the latter."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._place = str(self).partition("://")[2]
        self._blosc: dict[str, bool] = {}  # whether the chunks of a folder are compressed by it

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Buffer | None:
        """One file."""
        read = partial(super().get, prototype=prototype or default_buffer_prototype())  # pyright: ignore
        found, (folder, _, name) = await read(key, byte_range=byte_range), key.rpartition("/")
        if name in META:
            return found
        if found is None:
            raise DataError(
                f"{self._place} lacks {key}: fetch it, or write the array again, zeros as well (write_empty_chunks)"
            )
        if folder not in self._blosc:
            about = await read(f"{folder}/.zarray")
            self._blosc[folder] = about is not None and b'"blosc"' in about.to_bytes()
        head = found.as_numpy_array()[:16].tobytes()
        if self._blosc[folder] and len(found) < max(16, int.from_bytes(head[12:], "little")):
            raise DataError(f"{self._place} has only a part of {key}: fetch it again")
        return found


class Folder(Whole, LocalStore):
    """A folder."""


class Archive(Whole, ZipStore):
    """A zip archive."""
