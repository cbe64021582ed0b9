"""Files and folders that are old or new, never half written, and have one writer at a time."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

from .errors import CheckpointError, DataError
from .interrupts import uninterrupted
from .locks import open_to_lock, try_lock, written_already

LEFT_BEHIND = 3600.0  # [s] after which a file that was begun belongs to a writer that was killed
REMOVALS = 10  # tries to remove a folder into which something is written meanwhile
REMOVAL_PERIOD = 0.01  # [s] between two of them


def replace(path: Path, content: bytes) -> None:
    """Write a file beside `path`, wait until the disk has it, then rename it over `path`.

    Several writers may do so at once: each has a name of its own, and the last one's content stays.
    """
    _forget_killed_writers(path)
    write_beside(path, _own_name(path), content)
    sync_folder(path.parent)


def write_file(path: Path, content: bytes) -> None:
    """Replace a file in one step; where that fails the old one stays, CheckpointError says why."""
    with writing(path):
        replace(path, content)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says against writing `path` into CheckpointError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"could not write {path}: {reason}; the last state stays") from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path` to fill; it becomes `path`, or vanishes if the block fails."""
    with new_file(path) as beside:
        beside.mkdir()
        yield beside


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a place beside `path` for one file, likewise."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{path} exists already; choose another place, or move it away first")
    if not path.name:
        raise DataError(f"{path} has no name of its own; name a new place in it")
    _forget_killed_writers(path)
    beside = path.with_name(_own_name(path))
    claim = None
    try:
        _make_folder(path.parent)
        claim = _claim(beside)
        yield beside
        _sync_all(beside)
        os.replace(beside, path)
        sync_folder(path.parent)
    except OSError as error:
        raise DataError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        with uninterrupted():  # who presses Ctrl-C twice finds nothing left behind either
            _remove(beside)
            if claim is not None:
                _lock_file(beside).unlink(missing_ok=True)
                os.close(claim)


def _lock_file(beside: Path) -> Path:
    """Return the file that is locked as long as the writer of `beside` lives."""
    return beside.with_name(f"{beside.name}.lock")


def _claim(beside: Path) -> int | None:
    """Tell others, until the returned handle is closed, that the writer of `beside` lives.

    None where nothing can be locked: what a killed writer has left then stays.
    """
    file = _lock_file(beside)
    with suppress(DataError, ImportError):
        handle = open_to_lock(file, os.O_CREAT)
        if try_lock(handle, file):
            return handle
        os.close(handle)
    return None


def _remove(path: Path) -> None:
    """Remove a file or a folder, into which a thread that is ending may write meanwhile."""
    for _ in range(REMOVALS):
        rmtree(path, ignore_errors=True)
        if path.is_file():
            path.unlink()
        if not path.exists():
            return
        time.sleep(REMOVAL_PERIOD)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only process that fills a folder, which is made; DataError where there is another.

    Where nothing can be locked nobody is refused.
    """
    file = folder / ".writing.lock"
    is_new = not folder.exists()
    with writing(file):
        _make_folder(folder)
    handle = open_to_lock(file, os.O_CREAT)
    try:
        with suppress(ImportError):
            if not try_lock(handle, file):
                raise written_already(folder)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)
            if is_new:
                with suppress(OSError):
                    folder.rmdir()  # as long as nothing is in it
    finally:
        os.close(handle)


def write_beside(path: Path, name: str, content: bytes) -> None:
    """Write a file as `name` beside `path`, wait for the disk, then rename it over `path`."""
    _make_folder(path.parent)
    beside = path.with_name(name)
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _own_name(path: Path) -> str:
    """Return a name that no other writer of `path` has."""
    return f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial"


def _forget_killed_writers(path: Path) -> None:
    """Remove what was begun for `path` and never finished.

    That is what its writer, alive, would have locked; without a lock, a file of long ago.
    """
    begun = f".{path.name}."
    with suppress(OSError):
        for entry in list(os.scandir(path.parent)):
            if not entry.name.startswith(begun):
                continue
            with suppress(OSError, DataError, ImportError):
                if entry.name.endswith(".partial.lock"):
                    _forget_unlocked(Path(entry.path))
                elif entry.name.endswith(".partial"):
                    _forget_old(Path(entry.path))


def _forget_unlocked(file: Path) -> None:
    handle = open_to_lock(file)
    try:
        if try_lock(handle, file):
            _remove(file.with_suffix(""))
            file.unlink()
    finally:
        os.close(handle)


def _forget_old(file: Path) -> None:
    is_locked = _lock_file(file).exists()
    if not is_locked and time.time() - file.stat().st_mtime > LEFT_BEHIND:
        os.unlink(file)


def _make_folder(folder: Path) -> None:
    """Make a folder and those around it, so that they outlast a failing power supply."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def _sync_all(path: Path) -> None:
    """Wait until the disk has a file, or a folder with all that is in it."""
    if not path.is_dir():
        _sync(path)
        return
    for folder, _, files in os.walk(path):
        for name in files:
            _sync(Path(folder, name))
        sync_folder(Path(folder))


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows what its files are called now.

    Not every file system can. The file is in its place even so; an error would say it is not.
    """
    with suppress(OSError):
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
