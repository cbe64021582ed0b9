"""Records of one process for another one, through shared memory; neither ever waits."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import zlib

import numpy as np

from .errors import RobotError

HEAD = struct.Struct("<QII")  # number of the record, its size and its checksum
PIECE = 1 << 20  # bytes that are written at once
TRIES = 3  # to read a record that is being replaced


class Slot:
    """A place for one record in shared memory.

    What was never written, half written, or torn by a writer in between has no fitting checksum and
    so is no record: no order of memory operations is relied upon.
    """

    def __init__(self, memory: mmap.mmap, start: int, size: int) -> None:
        self._memory = memory
        self._start = start
        self._size = size
        self.body = start + HEAD.size  # where its content begins

    def write(self, number: int, content: bytes) -> None:
        """Replace the record."""
        HEAD.pack_into(self._memory, self._start, 0, 0, 0)
        self._memory[self.body : self.body + self._size] = content
        check = _checksum(number, content)
        HEAD.pack_into(self._memory, self._start, number, len(content), check)

    def number(self) -> int:
        """Return the number of the record; 0 where there is none."""
        number, size, _ = HEAD.unpack_from(self._memory, self._start)
        return number if size == self._size else 0

    def read(self) -> tuple[int, bytes] | None:
        """Return number and content; None where there is no whole record."""
        for _ in range(TRIES):
            number, size, check = HEAD.unpack_from(self._memory, self._start)
            if not number or size != self._size:
                return None
            content = self._memory[self.body : self.body + self._size]
            if check == _checksum(number, content):
                return number, content
        return None


class SharedMemory:
    """Slots for records of a numpy dtype.

    They are taken and touched at once, so that no write can fail later.

    fd: of memory that another process made and handed on, or of `empty_memory`; by default new. It
    has no name, and is free once the last process that holds it is gone, however it ended.
    RobotError where there is not enough of it.
    """

    def __init__(self, dtype: np.dtype, slots: int, fd: int | None) -> None:
        self.dtype = dtype
        size = HEAD.size + dtype.itemsize
        self.fd = empty_memory() if fd is None else os.dup(fd)
        if not os.fstat(self.fd).st_size:
            _take_memory(self.fd, slots * size)
        self._memory = mmap.mmap(self.fd, slots * size)
        self._slots: list[Slot] = []
        for index in range(slots):
            self._slots.append(Slot(self._memory, index * size, dtype.itemsize))

    def close(self) -> None:
        """Let go; may be called again."""
        if not self._memory.closed:
            self._memory.close()
            os.close(self.fd)


class Mailbox(SharedMemory):
    """One slot: one process writes, one reads, the newest record wins."""

    def __init__(self, dtype: np.dtype, fd: int | None = None) -> None:
        super().__init__(dtype, 1, fd)
        self._number = int.from_bytes(
            os.urandom(6), "little"
        )  # a new writer is no echo of the last
        self._seen = 0

    def write(self, record: np.ndarray) -> None:
        """Replace the record by another, a 0-d array of the dtype."""
        self._number += 1
        self._slots[0].write(self._number, record.tobytes())

    def read(self) -> np.ndarray | None:
        """Return the newest record, once; None while there is none that has not been read."""
        if self._slots[0].number() == self._seen:
            return None
        found = self._slots[0].read()
        if found is None:
            return None
        self._seen, content = found
        return np.frombuffer(content, self.dtype)[0]


class Ring(SharedMemory):
    """Many slots; one process writes, one reads, in order.

    The writer goes on where the reader is too slow.
    lost: records that the reader has missed.
    """

    def __init__(self, dtype: np.dtype, slots: int, fd: int | None = None) -> None:
        super().__init__(dtype, slots, fd)
        self._number = 0
        self.lost = 0

    def write(self, record: np.ndarray) -> None:
        """Add a record, a 0-d array of the dtype."""
        self._number += 1
        slot = self._slots[self._number % len(self._slots)]
        slot.write(self._number, record.tobytes())

    def read(self) -> np.ndarray | None:
        """Return the next record; None while there is none."""
        slot = self._slots[(self._number + 1) % len(self._slots)]
        found = slot.read()
        if found is None or found[0] <= self._number:
            return None
        number, content = found
        self.lost += number - self._number - 1
        self._number = number
        return np.frombuffer(content, self.dtype)[0]


def empty_memory() -> int:
    """Return the file descriptor of shared memory whose size is not known yet."""
    try:
        if hasattr(os, "memfd_create"):  # needs no mounted /dev/shm, and is as large as the memory
            return os.memfd_create("fewstep")
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    except OSError as error:
        raise RobotError(f"no shared memory is to be had: {error.strerror or error}") from error


def _take_memory(fd: int, size: int) -> None:
    """Write memory once, which fails with an error now where it would end the process later."""
    try:
        zeros = bytes(min(size, PIECE))
        written = 0
        while written < size:
            written += os.write(fd, zeros[: size - written])
    except OSError as error:
        reason = error.strerror or error
        raise RobotError(f"no shared memory of {size} bytes is to be had: {reason}") from error


def _checksum(number: int, content: bytes) -> int:
    begun = zlib.crc32(number.to_bytes(8, "little"))
    return zlib.crc32(content, begun)
