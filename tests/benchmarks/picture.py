"""Success against latency against network evaluations, out of docs/results.json.

`python tests/benchmarks/picture.py`.

Latencies are those of `fewstep bench`, kept by `collect.py bench=folder`: they depend on the number
of evaluations alone, since all tasks have the same network.
"""

import json

import matplotlib.pyplot as plt
from collect import RESULTS
from decide import SEEDS, TASKS

from fewstep.policy.evaluation.charts import ACCENT, MUTED, STYLE, WARM

KINDS = {
    "default": ("default", ACCENT, 0.97),
    "distilled": ("its student", WARM, 1.15),
    "v": ("DDPM, v", MUTED, 1.0),
}
TITLES = ("pick and place, two modes", "human Push-T", "Meta-World peg-insert-side")


def draw(axes, task: str, results: dict, latency: dict[int, float]) -> None:
    """One task; what would cover each other, training seeds too, stands side by side."""
    for what, (name, color, aside) in KINDS.items():
        for seed, step in zip(SEEDS, (0.97, 1.03), strict=True):
            rows = results.get(f"{task}/{what}/{seed}", {"results": []})["results"]
            for row in rows:
                n, y, (low, high) = (
                    row["network_evaluations"],
                    100 * row["success_rate"],
                    row["interval"],
                )
                x, label = (
                    latency[n] * aside * step,
                    name if seed == "0" and row is rows[0] else None,
                )
                ends = [[y - 100 * low], [100 * high - y]]
                axes.errorbar([x], [y], ends, fmt="o", ms=3.5, color=color, capsize=2, label=label)
                if seed == "0":
                    axes.annotate(
                        str(n), (x, y), (-5, 0), textcoords="offset points", ha="right", va="center"
                    )
    axes.set(xscale="log", xlabel="median latency of a chunk [ms]", ylim=(-8, 104))
    axes.set_xticks([2, 5, 10, 20, 50, 100, 200], ["2", "5", "10", "20", "50", "100", "200"])
    axes.minorticks_off()


def main() -> None:
    """Write docs/success.png."""
    results = json.loads(RESULTS.read_text())
    latency = {
        r["network_evaluations"]: r["median_ms"]
        for r in results["bench"]["rows"]
        if r["engine"] == "eager"
    }
    with plt.rc_context(STYLE):
        figure, every = plt.subplots(
            1, len(TASKS), figsize=(11, 3.4), sharex=True, sharey=True, layout="constrained"
        )
        for axes, task, title in zip(every, TASKS, TITLES, strict=True):
            draw(axes, task, results, latency)
            axes.set_title(title)
        every[0].set_ylabel("success [%], 95 % intervals")
        every[1].legend(loc="lower right")
        figure.savefig(RESULTS.with_name("success.png"), dpi=150, facecolor="white")


if __name__ == "__main__":
    main()
