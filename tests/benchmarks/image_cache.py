"""How fast pictures are cached for training, and how fast windows of them are gathered.

`python tests/benchmarks/image_cache.py [FRAMES [SIDE [FOLDER]]]`: by default 1,000 frames of each of
two 640x480 cameras, brought to 96 px. 10,850 frames are 20 GB of raw pictures. Needs Linux.

Speeds of building are in pictures per CPU second, of all processes together, and per second on the
wall. Gathering is measured with no page of the cache in memory at first, then with all that fit;
its peak is of anonymous memory, which the system cannot take back.
"""

import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from memory import Peak

from fewstep.demos.episode import Episode
from fewstep.demos.storage.images import EncodedImages
from fewstep.demos.store import DemoStore
from fewstep.envs import Field, Spec
from fewstep.policy.training.caching.image_cache import CachedImages, cache_folder, cache_images

SHAPE = (480, 640, 3)
CAMERAS = ("top", "wrist")
SPEC = Spec(
    {key: Field(SHAPE, kind="image") for key in CAMERAS}, {"action": Field((1,))}, policy_hz=10
)
EPISODE = 500  # frames
DIFFERENT = 40  # pictures, which come again and again
BATCH, STEPS, BATCHES = 64, 2, 40


def main() -> None:
    """Write a store, cache it with one and with two processes, and gather from it."""
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    side = int(sys.argv[2]) if len(sys.argv) > 2 else 96
    place = sys.argv[3] if len(sys.argv) > 3 else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        path = Path(folder, "demos")
        write_store(path, frames)
        raw = frames * len(CAMERAS) * np.prod(SHAPE) / 1e9
        print(
            f"{len(CAMERAS)} x {frames} pictures, {raw:.1f} GB raw, {size_of(path):.2f} GB in a store"
        )
        print("| what | |\n|---|---|")
        for name, value in measure(path, side):
            print(f"| {name} | {value} |", flush=True)


def write_store(path: Path, frames: int) -> None:
    """Write a store of blurred noise, which takes about as much as a camera's pictures."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (DIFFERENT, 60, 80, 3), np.uint8)
    pictures = coarse.repeat(8, axis=1).repeat(8, axis=2)
    pictures = (pictures + rng.normal(0, 2, pictures.shape)).clip(0, 255).astype(np.uint8)
    encoded = EncodedImages.encode(pictures, "jpeg").encoded
    with DemoStore.create(path, SPEC, images="jpeg") as store:
        for start in range(0, frames, EPISODE):
            count = min(EPISODE, frames - start)
            data = {"action": np.zeros((count, 1)), "time": np.arange(count) / 10}
            for key in CAMERAS:
                chosen = [encoded[i] for i in rng.integers(0, DIFFERENT, count)]
                data[key] = EncodedImages(chosen, SHAPE, "jpeg")  # pyright: ignore
            store.append(Episode(data, SPEC))


def measure(path: Path, side: int) -> Iterator[tuple[str, str]]:
    """Yield what is measured, in words."""
    store = DemoStore.open(path)
    count = store.frames * len(CAMERAS)
    images: dict[str, CachedImages] = {}
    for workers in (1, 2):
        shutil.rmtree(cache_folder(path), ignore_errors=True)
        images.clear()
        began = time.perf_counter()
        before = cpu_seconds()
        images.update(cache_images(store, CAMERAS, side, workers=workers))
        spent = cpu_seconds() - before
        elapsed = time.perf_counter() - began
        speeds = f"{count / spent:.0f} per CPU second, {count / elapsed:.0f} per second"
        yield f"pictures cached, workers={workers}", f"{speeds}, {elapsed:.1f} s in all"
    yield f"cache at {images['top'].shape[1:]}", f"{size_of(cache_folder(path)):.3f} GB"
    began = time.perf_counter()
    images = cache_images(store, CAMERAS, side)
    yield "opened again", f"{time.perf_counter() - began:.2f} s"
    for file in (path / "data" / "top" / "bytes" / "c").iterdir():
        os.utime(file)
    began = time.perf_counter()
    images = cache_images(store, CAMERAS[:1], side) | images
    yield "opened after a camera's files were touched", f"{time.perf_counter() - began:.2f} s"
    for file in cache_folder(path).glob("*.rgb"):
        forget(file)
    for name in ("not in memory", "again"):
        with Peak() as peak:
            began = time.perf_counter()
            gather(images)
            rate = BATCH * BATCHES / (time.perf_counter() - began)
        yield f"windows a second, {name}", f"{rate:.0f}, peak {peak.megabytes:.0f} MB"


def gather(images: dict[str, CachedImages]) -> None:
    """Gather batches of windows at random."""
    rng = np.random.default_rng(0)
    for _ in range(BATCHES):
        last = rng.integers(STEPS - 1, len(images["top"]), BATCH)
        history = last[:, None] + np.arange(1 - STEPS, 1)
        for cached in images.values():
            assert cached[history].shape[:2] == (BATCH, STEPS)


def forget(file: Path) -> None:
    """Let the system forget the pages of a file that it holds in memory and on disk."""
    handle = os.open(file, os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those that it has waited for."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


def size_of(folder: Path) -> float:
    """Return the size of all files [GB]."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9


if __name__ == "__main__":
    main()
