"""Locks on files: one writer at a time, of all processes; the system ends them with their owner."""

import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import DataError

TURN = 10.0  # [s] that a writer waits for its turn
TURN_CHECK_PERIOD = 0.01  # [s] between two looks whether it has come


def lock(owner: object, file: Path) -> weakref.finalize:
    """Be the only writer of a file until the returned release is called.

    It is called too where `owner` is collected or the process dies.
    """
    handle = open_to_lock(file)
    release = weakref.finalize(owner, os.close, handle)
    try:
        if try_lock(handle, file):
            return release
        raise written_already(file.parent)
    except DataError:
        release()
        raise


def written_already(folder: Path) -> DataError:
    """Return what is said where another process writes into a folder."""
    return DataError(f"{folder} is being written already; wait for it, or write elsewhere")


@contextmanager
def turn(file: Path, seconds: float = TURN) -> Iterator[None]:
    """Be the only one inside such a block for `file`, which is made, of all processes and threads.

    Raises DataError where others do not leave it for `seconds`.
    """
    handle = open_to_lock(file, os.O_CREAT)
    end = time.monotonic() + seconds
    try:
        while not try_lock(handle, file):
            if time.monotonic() > end:
                raise DataError(f"another process has held {file} for {seconds:g} s; end it first")
            time.sleep(TURN_CHECK_PERIOD)
        yield
    finally:
        os.close(handle)


def open_to_lock(file: Path, flags: int = 0) -> int:
    """Open a file that is to be locked, and return its handle; DataError where that fails."""
    try:
        return os.open(file, os.O_RDWR | flags, 0o666)
    except OSError as error:
        raise DataError(f"cannot write to {file.parent}: {error.strerror or error}") from error


def try_lock(handle: int, file: Path) -> bool:
    """Return whether the lock is ours now; False where somebody else has it."""
    import fcntl  # not on every system, and only a writer needs it

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise DataError(f"cannot lock {file}: {error.strerror or error}") from error
    return True
