"""Files and folders that are old or new, never half written, and have one writer at a time."""

import os
import secrets
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

from .errors import CheckpointError, DataError

LEFT_BEHIND = 3600.0  # [s] after which a file that was begun belongs to a writer that was killed
TURN = 10.0  # [s] that a writer waits for its turn
TURN_CHECK_PERIOD = 0.01  # [s] between two looks whether it has come


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
    beside = path.with_name(_own_name(path))
    try:
        _make_folder(path.parent)
        yield beside
        _sync_all(beside)
        os.replace(beside, path)
        sync_folder(path.parent)
    except OSError as error:
        raise DataError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        rmtree(beside, ignore_errors=True)
        if beside.is_file():
            beside.unlink()


def lock(owner: object, file: Path) -> weakref.finalize:
    """Be the only writer of a file until the returned release is called.

    It is called too where `owner` is collected or the process dies.
    """
    handle = _open(file)
    release = weakref.finalize(owner, os.close, handle)
    try:
        if _try_lock(handle, file):
            return release
        raise DataError(f"{file.parent} is being written already; wait for it, or write elsewhere")
    except DataError:
        release()
        raise


@contextmanager
def turn(file: Path, seconds: float = TURN) -> Iterator[None]:
    """Be the only one inside such a block for `file`, which is made, of all processes and threads.

    Raises DataError where others do not leave it for `seconds`.
    """
    handle = _open(file, os.O_CREAT)
    end = time.monotonic() + seconds
    try:
        while not _try_lock(handle, file):
            if time.monotonic() > end:
                raise DataError(f"another process has held {file} for {seconds:g} s; end it first")
            time.sleep(TURN_CHECK_PERIOD)
        yield
    finally:
        os.close(handle)


def _open(file: Path, flags: int = 0) -> int:
    try:
        return os.open(file, os.O_RDWR | flags, 0o666)
    except OSError as error:
        raise DataError(f"cannot write to {file.parent}: {error.strerror or error}") from error


def _try_lock(handle: int, file: Path) -> bool:
    """Return whether the lock is ours now; False where somebody else has it."""
    import fcntl  # not on every system, and only a writer needs it

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise DataError(f"cannot lock {file}: {error.strerror or error}") from error
    return True


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
    """Remove what was begun for `path` long ago and never finished."""
    begun = f".{path.name}."
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            if entry.name.startswith(begun) and entry.name.endswith(".partial"):
                with suppress(OSError):
                    if time.time() - entry.stat().st_mtime > LEFT_BEHIND:
                        os.unlink(entry.path)


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
