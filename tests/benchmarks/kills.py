"""A thousand SIGKILLs of recordings and trainings at random moments, and what was lost.

`python tests/benchmarks/kills.py [appends] [trainings]`: by default 700 and 300.
"""

import random
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "policy" / "training"))

import crash_trainer
import crash_writer
from training_runs import CONFIG, finished, weights, write

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs.schema import to_plain

EPISODES = 40  # that a writer appends where nobody kills it
KEPT = 400  # episodes in a store before another is begun


@dataclass
class Losses:
    """What kills of recordings cost."""

    killed: int = 0
    lost: int = 0  # finished episodes
    whole: int = 0  # episodes that are there bit by bit
    differing: int = 0

    def add(self, store: DemoStore, expected: list[int], seeds: list[int], appended: int) -> int:
        """Count what is in a store after a kill, and return how many episodes are new."""
        new = len(store) - len(expected)
        self.lost += max(0, appended - new)
        for index in range(max(0, len(expected) - 1), len(store)):
            made = crash_writer.make((expected + seeds)[index])
            if is_same(store.episode(index), made):
                self.whole += 1
            else:
                self.differing += 1
        return new


def is_same(found: Episode, made: Episode) -> bool:
    """Whether an episode is as it was made, bit by bit."""
    for key, values in made.data.items():
        if not np.array_equal(np.asarray(found.data[key]), values):
            return False
    return True


def appends(kills: int, folder: Path) -> str:
    """Kill writers; every episode whose append had returned has to be there, bit by bit."""
    moments = random.Random(0)
    losses = Losses()
    number = 0
    seed = 0
    while losses.killed < kills:
        path = folder / f"store.{number}"
        expected: list[int] = []
        number += 1
        DemoStore.create(path, crash_writer.SPEC).close()
        while losses.killed < kills and len(expected) < KEPT:
            seeds = list(range(seed, seed + EPISODES))
            ended = crash_writer.run(str(path), seeds, seconds=moments.uniform(0.0, 0.25))
            losses.killed += ended["code"] == -signal.SIGKILL
            new = losses.add(DemoStore.open(path), expected, seeds, ended["appended"])
            expected += seeds[:new]
            seed += EPISODES
        shutil.rmtree(path)
    return (
        f"{losses.killed} kills of recordings: {losses.lost} finished episodes lost, "
        f"{losses.whole} whole bit by bit, {losses.differing} not"
    )


def trainings(kills: int, folder: Path) -> str:
    """Kill trainings again and again until they end.

    Each has to end in the weights of one that nobody killed.
    """
    data = write(folder / "demos")
    took = crash_trainer.run(str(data), str(folder / "whole"), to_plain(CONFIG))["seconds"]
    expected = weights(folder / "whole")
    moments = random.Random(1)
    killed = 0
    ended = 0
    differing = 0
    out = folder / "out"
    while killed < kills:
        seconds = moments.uniform(0, took)
        run = crash_trainer.run(str(data), str(out), to_plain(CONFIG), seconds=seconds)
        killed += run["code"] == -signal.SIGKILL
        if out.exists() and finished(out):
            ended += 1
            differing += weights(out) != expected
            shutil.rmtree(out)
    return (
        f"{killed} kills of trainings: {ended} ended meanwhile, "
        f"{differing} in other weights than without a kill"
    )


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    writes = numbers[0] if numbers else 700
    trains = numbers[1] if len(numbers) > 1 else 300
    with tempfile.TemporaryDirectory() as place:
        print(appends(writes, Path(place)), flush=True)
        print(trainings(trains, Path(place)), flush=True)
