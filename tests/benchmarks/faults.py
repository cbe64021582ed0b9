"""How soon each fault of the bad robot is latched, how soon its motors rest, and how close to their
limits they came.

`python tests/benchmarks/faults.py`: `fewstep run` replays six seconds of motion near the largest
velocity at 100 Hz; 0.3 s after motion begins something goes wrong.
"""

import json
import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "policy" / "serving"))

import motion
from test_bad_robot import HZ, TESTS, TROUBLES, Cell, write_demos

HEAD = (
    "| what goes wrong | latched after s | at rest after s | position | velocity | acceleration |"
)


def main() -> None:
    os.environ["PYTHONPATH"] = TESTS
    rows: list[tuple[str, float, float, motion.Worst]] = []
    over_all = motion.NONE
    for name, (trouble, _) in TROUBLES.items():
        with tempfile.TemporaryDirectory() as folder:
            cell = Cell(Path(folder), write_demos(Path(folder)))
            moments: list[float] = []
            cause = cell.cause

            def timed(moments: list[float] = moments, cause=cause, **given: object) -> None:
                cause(**given)
                moments.append(time.monotonic())

            cell.cause = timed  # type: ignore[method-assign]
            cell.later(0.3, trouble)
            cell.run("seconds=5")
            latched, rest = times(cell, moments[0])
            found = motion.judged(cell.log, HZ)
            rows.append((name, latched, rest, found))
            over_all |= found
    longest = np.nanmax([row[1:3] for row in rows], axis=0)
    rows.append(("over all of them", longest[0], longest[1], over_all))
    print(HEAD + "\n|---|---|---|---|---|---|")
    for name, latched, rest, found in rows:
        ratios = " | ".join(f"{ratio:.6f}" for ratio in vars(found).values())
        print(f"| {name} | {latched:.2f} | {rest:.2f} | {ratios} |")


def times(cell: Cell, caused: float) -> tuple[float, float]:
    """Seconds until the fault, and until the last setpoint that differs from the one before."""
    sent = [
        r for r in motion.records(cell.log) if r["kind"] == "command" and r["action"] is not None
    ]
    moved = [b["t"] for a, b in pairwise(sent) if a["action"] != b["action"]]
    faults = [
        e for e in map(json.loads, cell.said().splitlines()) if "-> fault" in e.get("text", "")
    ]
    wrong_clock = "clock" in faults[0]["text"]
    latched = np.nan if wrong_clock else faults[0]["time"] - caused
    return latched, max(0.0, moved[-1] - caused)


if __name__ == "__main__":
    main()
