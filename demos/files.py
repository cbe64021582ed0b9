"""Files and folders that are either old or new, never half written, and have one writer."""

import asyncio
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from ..envs import DataError, caps
from ..envs.files import require_plain
from .zarr_layout import Layout, require_chunk, require_ours

BLOCK = 4096  # bytes


class AtomicStore(LocalStore):
    """A zarr folder of ours whose files change in one step, also when the process is killed or power fails.

    zarr itself wrote in place before its release 3.1.3, and never waits for the disk. What is read is first compared
    with what fewstep writes: format 3, numbers, and chunks that decode to no more than their array says.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._layouts: dict[str, Layout] = {}

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Buffer | None:
        """Read one file, or a part of it."""
        path, folder = self.root / key, key.rpartition("/c/")[0]
        require_plain(path, self.root)
        described = path.name == "zarr.json"
        layout = None if described else self._layouts.get(folder)
        most = caps.JSON if layout is None else layout.most
        if path.is_file() and (size := path.stat().st_size) > most:
            raise DataError(f"{path} is damaged: it has {size} bytes, at most {most} can belong to it")
        found = await super().get(key, prototype, byte_range)
        if found is not None and described and (about := require_ours(found.to_bytes(), f"{path} is damaged")):
            self._layouts[key.rpartition("/")[0]] = about
        if found is not None and layout is not None and byte_range is None:
            require_chunk(layout, found.to_bytes(), f"{path} is damaged")
        return found

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file."""
        self._check_writable()
        await asyncio.to_thread(replace, self.root / key, value.to_bytes())


def stored(folder: Path) -> int:
    """Bytes that the files of a folder take; each takes a block of the disk at least."""
    files = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return sum(max(file.lstat().st_size, BLOCK) for file in files)


def replace(path: Path, content: bytes) -> None:
    """Write a file beside `path`, wait until the disk has it, then rename it over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.partial")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to fill, which becomes `path` where the block succeeds and vanishes where it fails."""
    with new_file(path) as beside:
        beside.mkdir()
        yield beside


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A place beside `path` for one file, likewise."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{path} exists already; choose another place, or move it away first")
    if not path.name:
        raise DataError(f"{path} has no name of its own; name a new place in it")
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise DataError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        rmtree(beside, ignore_errors=True)
        if beside.is_file():
            beside.unlink()


def lock(owner: object, file: Path) -> weakref.finalize:
    """Be the only writer until the returned release is called, `owner` is collected, or the process dies."""
    import fcntl  # not on every system, and only a writer needs it

    try:
        handle = os.open(file, os.O_RDWR)
    except OSError as error:
        raise DataError(f"cannot write to {file.parent}: {error.strerror}") from error
    release = weakref.finalize(owner, os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        release()
        raise DataError(f"{file.parent} is being written already; wait for it, or write elsewhere") from error
    return release
