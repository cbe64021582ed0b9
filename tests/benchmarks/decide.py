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
    count = len(differences)
    mean = sum(value for value, _, _ in differences) / count
    variance = sum(((high - low) / 2 / Z) ** 2 for _, low, high in differences)
    half = Z * math.sqrt(variance) / count
    return mean, mean - half, mean + half


def main() -> None:
    """Print the paired differences from ten evaluations, then the pooled one from 100."""
    results = json.loads(RESULTS.read_text())
    lost: dict[str, list[tuple[float, float, float]]] = {}
    print("| task | seed | row | success minus ten evaluations | score minus ten evaluations |")
    print("|---|---|---|---|---|")
    for task in TASKS:
        for seed in SEEDS:
            collect_losses(results, task, seed, lost)
    for what, differences in sorted(lost.items()):
        print(f"{what}: {signed(pooled(differences))} in success over {len(differences)} pairs")


def collect_losses(results: Row, task: str, seed: str, lost: dict[str, list]) -> None:
    """Print the rows of a task and a training seed, and add to what is lost in success."""
    found = dict(rows(results, task, seed))
    hundred = found.get("v, 100")
    ten = reference(results.get(f"{task}/default/{seed}", {"results": []}))
    for name, row in found.items():
        if ten and row is not ten:
            success, score = paired(row, ten)
            print(f"| {task} | {seed} | {name} | {signed(success)} | {signed(score)} |")
            if task in ONE_MODE:
                what = f"minus ten evaluations, one mode: {name}"
                lost.setdefault(what, []).append(success)
        if hundred and row is not hundred:
            success, _ = paired(row, hundred)
            lost.setdefault(f"minus DDPM-100: {name}", []).append(success)


if __name__ == "__main__":
    main()
