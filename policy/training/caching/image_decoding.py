"""Pictures that several processes decode, resize and write into one file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

from ....envs import DataError, FewstepWarning
from ....envs.modules import SAFE_PATH, begin_child, safe_children
from .image_source import ImageSource

BLOCK = 64  # pictures that a process decodes between two reports


@dataclass(frozen=True)
class Block:
    """Pictures `start` to `stop` of a source, which belong into a file at their places."""

    source: ImageSource
    file: Path
    start: int
    stop: int


Write = Callable[[Sequence[Block]], Generator[list[bytes], None, None]]


def split_blocks(source: ImageSource, file: Path, start: int) -> list[Block]:
    """Return the blocks of all pictures from `start` on, in order."""
    blocks: list[Block] = []
    for begin in range(start, source.frames, BLOCK):
        stop = min(begin + BLOCK, source.frames)
        blocks.append(Block(source, file, begin, stop))
    return blocks


def write_block(block: Block) -> list[bytes]:
    """Write pictures into their file, which exists, and return the hash of each one's bytes.

    One picture is in memory at a time.
    """
    hashes: list[bytes] = []
    with open(block.file, "r+b") as file:
        file.seek(block.start * block.source.frame_bytes)
        for picture_hash, picture in block.source.read(block.start, block.stop):
            hashes.append(picture_hash)
            file.write(picture.tobytes())
    return hashes


@contextmanager
def writers(workers: int) -> Iterator[Write]:
    """Yield what writes blocks in so many processes, or in this one, and returns their hashes.

    They come block by block, in order. Once that generator is closed nothing is written any more.
    The processes end with the block, or with this process however that dies.
    """
    if workers <= 1:
        yield _write_here
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawn, _begin_process, (os.environ.get(SAFE_PATH),))
    try:
        yield partial(_write_beside, pool)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that decodes pictures was ended from outside, or could not begin: fewer "
            "workers take less memory; a script needs `if __name__ == '__main__':`"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _write_here(blocks: Sequence[Block]) -> Generator[list[bytes], None, None]:
    for block in blocks:
        yield write_block(block)


def _write_beside(
    pool: ProcessPoolExecutor, blocks: Sequence[Block]
) -> Generator[list[bytes], None, None]:
    futures: list[Future[list[bytes]]] = []
    try:
        with safe_children(), _interrupts_blocked():  # processes start as calls come in
            for block in blocks:
                futures.append(pool.submit(write_block, block))
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that no Ctrl-C reaches: this one, which it reaches afterwards, ends them."""
    resource_tracker.ensure_running()  # whose own start would end the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_process(safe_path: str | None) -> None:
    begin_child(safe_path)
    warnings.simplefilter("ignore", FewstepWarning)  # the first process has said it
