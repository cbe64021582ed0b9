"""The memory that `fewstep import` takes.

`PYTHONPATH=tests python tests/benchmarks/importing.py [folder]`.

Sources of 1 and of 5 episodes, each of 30 s at 20 Hz with two cameras of 480x640 with the noise of
a sensor: 1.1 GB of raw pictures an episode. Peak of the resident memory of a process that imports
and does nothing else.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bags
import numpy as np

from fewstep.demos import DemoStore, Episode
from fewstep.demos.formats import export_demonstrations
from fewstep.envs import Field, Spec

EPISODES = (1, 5)
FRAMES = 600
HZ = 20
SIZE = (480, 640, 3)
CAMERAS = ("top", "wrist")
SPEC = Spec(
    {"joints": Field((7,), "rad")} | {camera: Field(SIZE, kind="image") for camera in CAMERAS},
    {"arm": Field((7,), "rad", measured_by="joints")},
    HZ,
)
FIELDS = """hz: 20
observations:
  joints: {topic: /joint_states, value: position, unit: rad, names: [a, b]}
  camera: {topic: /camera}
actions:
  joints: {topic: /joint_commands, value: data, unit: rad}
"""
IMPORT = """import re, sys, time
from fewstep.policy.cli.main import main
code = main(sys.argv[1:])
peak = re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]  # getrusage would count the parent's
print("measured", int(peak) / 1024, time.process_time())
sys.exit(code)"""


def main() -> None:
    kinds: dict[str, Callable[[DemoStore, Path], list[str]]] = {
        "LeRobot v3.0 (H.264)": partial(exported, kind="lerobot"),
        "Diffusion Policy zarr": partial(exported, kind="diffusion_policy"),
        "robomimic HDF5": partial(exported, kind="robomimic"),
        "MCAP of one camera, raw": bag,
    }
    print("| source | episodes | GB | of raw pictures | peak MB | CPU s |")
    print("|---|---|---|---|---|---|")
    place = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        for episodes in EPISODES:
            store = generated(Path(folder, f"store{episodes}"), episodes)
            for name, write in kinds.items():
                settings = write(store, Path(folder, f"{name.split()[0]}{episodes}"))
                gb = size(Path(settings[0].partition("=")[2])) / 1e9
                cameras = 1 if write is bag else len(CAMERAS)
                raw = cameras * episodes * FRAMES * int(np.prod(SIZE)) / 1e9
                memory, seconds = measured(
                    [*settings, f"data={folder}/out-{name.split()[0]}{episodes}"]
                )
                print(
                    f"| {name} | {episodes} | {gb:.2f} | {raw:.1f} | {memory:.0f} | {seconds:.0f} |",
                    flush=True,
                )


def generated(path: Path, episodes: int) -> DemoStore:
    """Smooth pictures that move, with noise."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 2, (8, *SIZE)).astype(np.float32)
    scene = (
        128
        + 100
        * np.sin(np.arange(SIZE[1]) / 40)[:, None]
        * np.cos(np.arange(SIZE[0]) / 30)[:, None, None]
    )
    pictures = np.stack(
        [(np.roll(scene, 5 * i, axis=1) + noise[i]).clip(0, 255).astype(np.uint8) for i in range(8)]
    )
    film = pictures[np.arange(FRAMES) % 8]
    q = np.cumsum(rng.normal(size=(FRAMES, 7)), axis=0) / 50
    numbers = {"joints": q, "action": q, "time": np.arange(FRAMES) / HZ}
    with DemoStore.create(path, SPEC, images="lossless") as store:
        for _ in range(episodes):
            store.append(Episode({**numbers, **dict.fromkeys(CAMERAS, film)}, SPEC))
    return DemoStore.open(path)


def exported(store: DemoStore, path: Path, kind: str) -> list[str]:
    if kind == "robomimic":
        path = path.with_suffix(".hdf5")
    export_demonstrations(store, path, kind)
    return [f"source={path}"]


def bag(store: DemoStore, path: Path) -> list[str]:
    path.mkdir()
    path.with_suffix(".yaml").write_text(FIELDS)
    for number in range(len(store)):
        episode: Any = store.episode(number).data
        messages = []
        for t, q, picture in zip(episode["time"], episode["joints"], episode["top"], strict=True):
            messages += [bags.joints(t, q[:2]), bags.command(t, q[:2]), bags.raw(t, picture)]
        bags.write(path / f"{number}", messages)
    return [f"source={path}", f"fields={path.with_suffix('.yaml')}"]


def size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def measured(settings: list[str]) -> tuple[float, float]:
    """Peak memory [MB] and CPU seconds of an import."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, "import", *settings],
        capture_output=True,
        text=True,
        check=True,
    )
    memory, seconds = done.stdout.rpartition("measured")[2].split()
    return float(memory), float(seconds)


if __name__ == "__main__":
    main()
