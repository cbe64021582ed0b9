"""Mailbox: the newest record of one process for another one, through shared memory; neither ever waits."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np

HEAD = struct.Struct("<QII")  # number of the record, its size and its checksum
MEMORY = Path("/dev/shm")  # where there is one; files in the usual folder for temporary ones do as well
TRIES = 3  # to read a record that is being replaced


class Mailbox:
    """One slot for records of a numpy dtype; one process writes, one reads, the newest wins.

    What was never written, half written, or torn by a writer in between has no fitting checksum and so is no record:
    no order of memory operations is relied upon. fd: of the slot that another process made and handed on; the memory
    has no name, and is free once the last process that holds it is gone, however it ended.
    """

    def __init__(self, dtype: np.dtype, fd: int | None = None) -> None:
        self.dtype, size = dtype, HEAD.size + dtype.itemsize
        self.fd = _nameless(size) if fd is None else os.dup(fd)
        self._memory = mmap.mmap(self.fd, size)
        self._number, self._seen = int.from_bytes(os.urandom(6), "little"), 0  # a new writer is no echo of the last

    def write(self, record: np.ndarray) -> None:
        """Replace the record by another, a 0-d array of the dtype."""
        content = record.tobytes()
        self._number += 1
        HEAD.pack_into(self._memory, 0, 0, 0, 0)
        self._memory[HEAD.size :] = content
        HEAD.pack_into(self._memory, 0, self._number, len(content), _check(self._number, content))

    def read(self) -> np.ndarray | None:
        """The newest record, once; None while there is none that has not been read."""
        for _ in range(TRIES):
            number, size, check = HEAD.unpack_from(self._memory)
            if number in (0, self._seen) or size != self.dtype.itemsize:
                return None
            content = self._memory[HEAD.size :]
            if check == _check(number, content):
                self._seen = number
                return np.frombuffer(content, self.dtype)[0]
        return None

    def close(self) -> None:
        """Let go; may be called again."""
        if not self._memory.closed:
            self._memory.close()
            os.close(self.fd)


def _nameless(size: int) -> int:
    with tempfile.TemporaryFile(dir=MEMORY if MEMORY.is_dir() else None) as file:
        file.truncate(size)
        return os.dup(file.fileno())


def _check(number: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(number.to_bytes(8, "little")))
