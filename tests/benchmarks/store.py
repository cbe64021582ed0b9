"""How fast a store of states is written, read and checked.

`python tests/benchmarks/store.py [times]`.

206 episodes, 25,750 frames: a hundred more than the human demonstrations of Push-T have.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np

from fewstep.demos import DemoStore, Episode
from fewstep.demos.doctor.check import check
from fewstep.envs import Field, Spec

EPISODES, FRAMES, HZ = 206, 125, 10
SPEC = Spec(
    {"joints": Field((7,), "rad")}, {"joints": Field((7,), "rad", measured_by="joints")}, HZ
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rounds = [measure(Path(folder, str(i))) for i in range(int([*sys.argv[1:], 5][0]))]
    for name in rounds[0]:
        seconds = np.array([r[name] for r in rounds])
        print(
            f"{name}: median {np.median(seconds):.2f} s of CPU, {seconds.min():.2f} to {seconds.max():.2f}"
        )


def measure(path: Path) -> dict[str, float]:
    return {
        "written": timed(lambda: write(path)),
        "opened and read": timed(
            lambda: [DemoStore.open(path).array(key).sum() for key in ("joints", "action", "time")]
        ),
        "checked": timed(lambda: check(DemoStore.open(path))),
    }


def write(path: Path) -> None:
    rng = np.random.default_rng(0)
    with DemoStore.create(path, SPEC) as store:
        for _ in range(EPISODES):
            q = np.cumsum(rng.normal(size=(FRAMES, 7)), axis=0) / 50
            store.append(Episode({"joints": q, "action": q, "time": np.arange(FRAMES) / HZ}, SPEC))


def timed(work: Callable[[], object]) -> float:
    began = process_time()
    work()
    return process_time() - began


if __name__ == "__main__":
    main()
