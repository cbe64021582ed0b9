"""Windows a second from disk, and size, for images in a store, in a video and raw.

`python tests/benchmarks/images.py`.

Two cameras, two observation steps per window, drawn at random, one thread; the pictures are the
built-in task's, with the noise of a sensor. All ways take turns; the median of the rounds counts.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from fewstep.demos import DemoStore, Episode
from fewstep.demos.formats.lerobot.writing import write
from fewstep.envs import Field, Spec, run_episode
from fewstep.envs.sim.registry import make_expert, make_robot

SIZES, CAMERAS, STEPS, HZ = ((96, 96), (480, 640)), ("top", "wrist"), 2, 10
FRAMES, WINDOWS, ROUNDS, NOISE = 480, 20, 5, 2.0


def scenes() -> np.ndarray:
    """EncodedImages (FRAMES, 480, 640, 3) of the task."""
    robot: Any = make_robot("pickplace", pictures=True)
    out, seed = [], 0
    while len(out) < FRAMES:
        out += [
            robot.render()
            for _ in run_episode(robot, make_expert("pickplace"), seed=seed, max_seconds=10)
        ]
        seed += 1
    return np.stack(out[:FRAMES])


def seen(pictures: np.ndarray, size: tuple[int, int], seed: int) -> np.ndarray:
    """As a camera of this size would have seen them."""
    small = np.stack(
        [Image.fromarray(p).resize(size[::-1], Image.Resampling.BOX) for p in pictures]
    )
    noise = np.random.default_rng(seed).normal(0, NOISE, small.shape)
    return (small + noise).round().clip(0, 255).astype(np.uint8)


def ways(folder: Path, size: tuple[int, int]) -> dict[str, tuple[Callable[[int], object], float]]:
    """For each way to keep them.

    How to read the window that ends at a frame, and bytes a frame of one camera.
    """
    whole = scenes()
    data = {c: seen(whole, size, i) for i, c in enumerate(CAMERAS)}
    spec = Spec({c: Field((*size, 3), kind="image") for c in CAMERAS}, {"a": Field((1,))}, HZ)
    numbers = {"action": np.zeros((FRAMES, 1)), "time": np.arange(FRAMES) / HZ}
    out: dict[str, tuple[Callable[[int], object], float]] = {}
    for images in ("jpeg", "lossless"):
        with DemoStore.create(folder / images, spec, images=images) as store:
            store.append(Episode({**data, **numbers}, spec))
        read = {c: store.pictures(c) for c in CAMERAS}
        out[images] = (
            lambda k, r=read: [np.asarray(r[c][k - STEPS + 1 : k + 1]) for c in CAMERAS],
            space(folder / images),
        )
    write(DemoStore.open(folder / "lossless"), folder / "lerobot")
    films = {c: next((folder / "lerobot/videos").rglob(f"*{c}/*/*.mp4")) for c in CAMERAS}
    out["MP4"] = lambda k: [decoded(films[c], k) for c in CAMERAS], space(folder / "lerobot/videos")
    for c in CAMERAS:
        np.save(folder / f"{c}.npy", data[c])
    raw = {c: np.load(folder / f"{c}.npy", mmap_mode="r") for c in CAMERAS}
    out["raw, memory-mapped"] = (
        lambda k: [np.array(raw[c][k - STEPS + 1 : k + 1]) for c in CAMERAS],
        float(np.prod(size) * 3),
    )
    return out


def space(path: Path) -> float:
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) / FRAMES / len(CAMERAS)


def decoded(film: Path, last: int) -> np.ndarray:
    """The frames of a window out of a video, found by seeking."""
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        container.seek(int((last - STEPS + 1) / HZ / stream.time_base), stream=stream)  # pyright: ignore
        frames = (f for f in container.decode(stream) if f.time > (last - STEPS + 0.5) / HZ)
        return np.stack([next(frames).to_ndarray(format="rgb24") for _ in range(STEPS)])


def main() -> None:
    """Print a table per size of the cameras."""
    print(
        "| cameras | kept as | windows a second | against MP4 | GB an hour of one camera |\n|---|---|---|---|---|"
    )
    for size in SIZES:
        with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
            found = ways(Path(folder), size)
            spent: dict[str, list[float]] = {way: [] for way in found}
            for i in range(ROUNDS):
                last = np.random.default_rng(i).integers(STEPS, FRAMES, WINDOWS)
                for way, (read, _) in found.items():
                    began = time.process_time()
                    for k in last:
                        read(int(k))
                    spent[way].append(time.process_time() - began)
        rate = {way: WINDOWS / float(np.median(s)) for way, s in spent.items()}
        for way, (_, size_) in found.items():
            gb = size_ * HZ * 3600 / 1e9
            print(
                f"| 2 x {size[0]}x{size[1]} | {way} | {rate[way]:.0f} | {rate[way] / rate['MP4']:.1f} | {gb:.2f} |"
            )


if __name__ == "__main__":
    main()
