"""Success against what thinking costs: every way of replanning.py, and the front of them.

`python tests/benchmarks/front.py`, out of docs/results.json: the mean of two trainings for each way
that was measured with both, on the same 500 test starts each. A way is on the front where nothing
that costs no more succeeds more often; a ring marks what the recipe does.
"""

import json

import matplotlib.pyplot as plt
import numpy as np
from collect import RESULTS, Row
from replanning import read_way

from fewstep.policy.evaluation.charts import ACCENT, MUTED, STYLE, WARM

TASKS = {  # of each its trainings, as docs/results.json calls them
    "pick and place, two modes": ("pickplace/replanning/seed0", "pickplace/replanning/seed1"),
    "human Push-T": (
        "pusht/replanning/ways/every-frame-bfloat16-seed1",
        "pusht/replanning/ways/every-frame-float32-seed2",
    ),
    "peg-insert-side": (
        "metaworld/peg-insert-side/replanning/seed0",
        "metaworld/peg-insert-side/replanning/seed1",
    ),
}
COST = "evaluations_per_tick"
TICKS = (0.25, 0.5, 1, 2)
DEFAULTS = {"pick and place, two modes": "8+evaluations5", "human Push-T": "2+lead2+agree.05"}


def in_words(name: str) -> str:
    """Return what a person calls a way."""
    way = read_way(name)
    words = [f"{way.action_steps} action{'s' * (way.action_steps > 1)}"]
    if way.lead:
        words.append(f"{way.lead} early")
    if way.evaluations:
        words.append(f"{way.evaluations} evaluations")
    for kind in ("medoid", "nearest", "error"):
        if getattr(way, kind) > 1:
            words.append(f"{kind} of {getattr(way, kind)}")
    if way.episode or way.shifted:
        words.append("one noise" if way.episode else "noise shifted")
    if way.average or way.agree:
        words.append("mean" if way.average else "mean of those that agree")
    return ", ".join(words)


def gather(results: dict, keys: tuple[str, str]) -> dict[str, tuple[float, float, float]]:
    """Return of each way its evaluations a step, success, and half of its 95 % interval."""
    trainings: list[dict[str, Row]] = []
    for key in keys:
        rows = results.get(f"{key}/100000", {"results": []})["results"]
        trainings.append({row["way"]: row for row in rows})
    first, second = trainings
    found = {}
    for name in first:
        if name in second:
            success = (first[name]["success_rate"] + second[name]["success_rate"]) / 2
            half = 1.96 * np.sqrt(success * (1 - success) / 1000)
            cost = (first[name][COST] + second[name][COST]) / 2
            found[name] = round(cost, 2), success, half
    return found


def on_front(found: dict[str, tuple[float, float, float]]) -> list[str]:
    """Return the ways that nothing beats, the cheapest first."""
    front: list[str] = []
    for name in sorted(found, key=lambda name: (found[name][0], -found[name][1])):
        if not front or found[name][1] > found[front[-1]][1]:
            front.append(name)
    return front


def main() -> None:
    """Write docs/front.png."""
    results = json.loads(RESULTS.read_text())
    with plt.rc_context(STYLE):
        figure, every = plt.subplots(1, len(TASKS), figsize=(16, 4.8), layout="constrained")
        for axes, (task, keys) in zip(every, TASKS.items(), strict=True):
            found = gather(results, keys)
            front = on_front(found)
            for name, (cost, success, half) in found.items():
                color = ACCENT if name in front else MUTED
                axes.errorbar([cost], [100 * success], 100 * half, fmt="o", ms=4, color=color)
                if name == DEFAULTS.get(task, "8"):
                    axes.plot([cost], [100 * success], "o", ms=11, mfc="none", color=WARM)
            axes.plot(
                [found[name][0] for name in front],
                [100 * found[name][1] for name in front],
                color=ACCENT,
                lw=1,
            )
            listed = [f"{found[name][1]:.3f}  {in_words(name)}" for name in reversed(front)]
            axes.set(xscale="log", xlim=(0.2, 2.6), title=task)
            axes.set_xlabel("network evaluations per control step")
            axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
            axes.minorticks_off()
            low, high = axes.get_ylim()
            axes.set_ylim(low - 0.055 * len(front) * (high - low), high)  # room for the list
            axes.text(
                0.98, 0.03, "\n".join(listed), transform=axes.transAxes, ha="right", va="bottom",
                fontsize=8, bbox={"fc": "white", "ec": "none", "alpha": 0.85},
            )  # fmt: skip
        every[0].set_ylabel("success [%], 95 % intervals of 1,000 episodes")
        figure.savefig(RESULTS.with_name("front.png"), dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
