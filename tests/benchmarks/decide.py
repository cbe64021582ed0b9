"""The deciding rows out of docs/results.json, and what is lost over all tasks.

Against DDPM-100, and against ten.

`python tests/benchmarks/decide.py`: evaluations are called task/what/seed there, as in
"pusht/default/0".
"""

import json
import math
from collections.abc import Iterator

from collect import RESULTS, Row, paired, reference, signed

from fewstep.policy.evaluation.statistics import Z

TASKS = ("pickplace", "pusht", "peg-insert-side")
ONE_MODE = TASKS[1:]
SEEDS = ("0", "1")
WHAT = ("default", "distilled", "v")


def rows(results: Row, task: str, seed: str) -> Iterator[tuple[str, Row]]:
    """Every deciding row of a task and a training seed, with its name."""
    for what in WHAT:
        for row in results.get(f"{task}/{what}/{seed}", {"results": []})["results"]:
            yield f"{what}, {row['network_evaluations']}", row


def pooled(differences: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Mean of independent differences, each weighing the same, with its 95 % interval."""
    n = len(differences)
    mean = sum(d[0] for d in differences) / n
    half = Z * math.sqrt(sum(((d[2] - d[1]) / 2 / Z) ** 2 for d in differences)) / n
    return mean, mean - half, mean + half


def main() -> None:
    """Print the paired differences from ten evaluations, then the pooled one from 100."""
    results, lost = json.loads(RESULTS.read_text()), {}
    print(
        "| task | seed | row | success minus ten evaluations | score minus ten evaluations |\n|---|---|---|---|---|"
    )
    for task in TASKS:
        for seed in SEEDS:
            found = dict(rows(results, task, seed))
            ten = reference(results.get(f"{task}/default/{seed}", {"results": []}))
            for name, row in found.items():
                if ten and row is not ten:
                    missing = paired(row, ten)
                    print(
                        f"| {task} | {seed} | {name} | {' | '.join(signed(d) for d in missing)} |"
                    )
                    if task in ONE_MODE:
                        lost.setdefault(f"minus ten evaluations, one mode: {name}", []).append(
                            missing[0]
                        )
                if (hundred := found.get("v, 100")) and row is not hundred:
                    lost.setdefault(f"minus DDPM-100: {name}", []).append(paired(row, hundred)[0])
    for what, differences in sorted(lost.items()):
        print(f"{what}: {signed(pooled(differences))} in success over {len(differences)} pairs")


if __name__ == "__main__":
    main()
