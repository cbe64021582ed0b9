"""What a camera costs: CPU time of a control tick without and with pictures.

`python tests/benchmarks/cameras.py [ticks]`.

One process, all its threads counted. A tick of pickplace moves the arm; one of Push-T the disk.
"""

import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.demos.recording.experts import record_expert
from fewstep.envs import Command
from fewstep.envs.sim.registry import make_expert, make_robot

ROUNDS = 5
EPISODES = 5
CASES = (
    ("pickplace", ()),
    ("pickplace", ("front",)),
    ("pickplace", ("front", "wrist")),
    ("pusht", ()),
    ("pusht-pixels", ("pixels",)),
)


def measure(task: str, cameras: tuple[str, ...], ticks: int, every: int) -> float:
    """Return the CPU time of a tick [ms], the median of all rounds.

    every: of so many ticks the pictures of one are read, as a policy does that asks for a chunk.
    """
    rng = np.random.default_rng(0)
    spent = []
    with closing(make_robot(task, cameras=cameras, seconds=1e6)) as robot:
        for round_number in range(ROUNDS):
            robot.reset(seed=round_number)
            measured = robot.observe()  # and opens OpenGL
            targets = draw_targets(robot, measured.data, rng, ticks)
            began = time.process_time()
            for tick, target in enumerate(targets):
                robot.command(Command(target, ""))
                robot.clock.wait_until(robot.clock.now() + 1 / robot.spec.command_hz)
                seen = robot.observe().data
                if tick % every == 0:
                    dict(seen)
            spent.append(1000 * (time.process_time() - began) / ticks)
    return float(np.median(spent))


def draw_targets(robot: Any, data: dict, rng: np.random.Generator, ticks: int) -> np.ndarray:
    """Return targets (ticks, A) near what is measured."""
    measured = []
    spread = []
    for field in robot.spec.actions.values():
        measured.append(data[field.measured_by])
        spread.append(0.05 * (np.array(field.high) - np.array(field.low)))
    noise = rng.standard_normal((ticks, robot.spec.action_size))
    targets = np.concatenate(measured) + np.concatenate(spread) * noise
    return targets.astype(np.float32)


def measure_recording(cameras: tuple[str, ...]) -> tuple[float, float]:
    """Return CPU seconds and megabytes on disk of an episode that the expert records."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(make_robot("pickplace", cameras=cameras)) as robot,
    ):
        data = Path(folder) / "demos"
        began = time.process_time()
        record_expert(robot, make_expert("pickplace"), data, EPISODES, notes={}, seed=0)
        seconds = time.process_time() - began
        size = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    return seconds / EPISODES, size / EPISODES / 1e6


def main() -> None:
    """Print both tables."""
    ticks = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print("| task | cameras | CPU ms a tick, pictures of each read | of every eighth |")
    print("|---|---|---|---|")
    for task, cameras in CASES:
        all_read = measure(task, cameras, ticks, every=1)
        few_read = measure(task, cameras, ticks, every=8)
        print(f"| {task} | {', '.join(cameras)} | {all_read:.2f} | {few_read:.2f} |")
    print(f"\nrecording {EPISODES} episodes of pickplace, pictures as JPEG\n")
    print("| cameras | CPU s an episode | MB an episode |")
    print("|---|---|---|")
    for cameras in ((), ("front", "wrist")):
        seconds, size = measure_recording(cameras)
        print(f"| {', '.join(cameras)} | {seconds:.2f} | {size:.2f} |")


if __name__ == "__main__":
    main()
