"""The deciding rows out of docs/results.json, and what is lost against 100 evaluations over all tasks.

`python tests/benchmarks/decide.py`: evaluations are called task/what/seed there, as in "pusht/default/0".
"""

import json
import math
from collections.abc import Iterator

from collect import RESULTS, Row, paired, reference, signed

from fewstep.policy.statistics import Z

TASKS = ("pickplace", "pusht", "peg-insert-side")
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
    print("| task | seed | row | success minus ten evaluations | score minus ten evaluations |\n|---|---|---|---|---|")
    for task in TASKS:
        for seed in SEEDS:
            found = dict(rows(results, task, seed))
            ten = reference(results.get(f"{task}/default/{seed}", {"results": []}))
            for name, row in found.items():
                if ten and row is not ten:
                    print(f"| {task} | {seed} | {name} | {' | '.join(signed(d) for d in paired(row, ten))} |")
                if (hundred := found.get("v, 100")) and row is not hundred:
                    lost.setdefault(name, []).append(paired(row, hundred)[0])
    for name, differences in lost.items():
        print(f"{name}: success minus DDPM-100 over {len(differences)} pairs: {signed(pooled(differences))}")


if __name__ == "__main__":
    main()
