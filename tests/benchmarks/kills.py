"""A thousand SIGKILLs of recordings and trainings at random moments, and what was lost.

`python tests/benchmarks/kills.py [appends] [trainings]`: by default 700 and 300.
"""

import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import crash_trainer
import crash_writer
from test_train import CONFIG, finished, weights, write

from fewstep.demos.store import DemoStore
from fewstep.envs.schema import to_plain

EPISODES = 40  # that a writer appends where nobody kills it
KEPT = 400  # episodes in a store before another is begun


def appends(kills: int, folder: Path) -> str:
    """Kill writers; every episode whose append had returned has to be there, bit by bit."""
    moments, killed, lost, whole, differing, number, seed = random.Random(0), 0, 0, 0, 0, 0, 0
    while killed < kills:
        path = folder / f"store.{number}"
        expected: list[int] = []
        number += 1
        DemoStore.create(path, crash_writer.SPEC).close()
        while killed < kills and len(expected) < KEPT:
            seeds = list(range(seed, seed + EPISODES))
            ended = crash_writer.run(str(path), seeds, seconds=moments.uniform(0.0, 0.25))
            killed += ended["code"] == -signal.SIGKILL
            store = DemoStore.open(path)
            new = len(store) - len(expected)
            lost += max(0, ended["appended"] - new)
            for k in range(max(0, len(expected) - 1), len(store)):
                made = crash_writer.make((expected + seeds)[k])
                found = store.episode(k).data
                same = all(
                    np.array_equal(np.asarray(found[key]), values)
                    for key, values in made.data.items()
                )
                whole, differing = whole + same, differing + (not same)
            expected += seeds[:new]
            seed += EPISODES
        shutil.rmtree(path)
    return f"{killed} kills of recordings: {lost} finished episodes lost, {whole} whole bit by bit, {differing} not"


def trainings(kills: int, folder: Path) -> str:
    """Kill trainings again and again until they end.

    Each has to end in the weights of one that nobody killed.
    """
    data = write(folder / "demos")
    took = crash_trainer.run(str(data), str(folder / "whole"), to_plain(CONFIG))["seconds"]
    expected, moments = weights(folder / "whole"), random.Random(1)
    killed, ended, differing = 0, 0, 0
    while killed < kills:
        out = folder / "out"
        code = crash_trainer.run(
            str(data), str(out), to_plain(CONFIG), seconds=moments.uniform(0, took)
        )["code"]
        killed += code == -signal.SIGKILL
        if out.exists() and finished(out):
            ended, differing = ended + 1, differing + (weights(out) != expected)
            shutil.rmtree(out)
    return f"{killed} kills of trainings: {ended} ended meanwhile, {differing} in other weights than without a kill"


if __name__ == "__main__":
    writes, trains = (int(x) for x in [*sys.argv[1:], 700, 300][:2])
    with tempfile.TemporaryDirectory() as place:
        print(appends(writes, Path(place)), flush=True)
        print(trainings(trains, Path(place)), flush=True)
