"""Keep evaluations in docs/results.json, and print their rows.

`python tests/benchmarks/collect.py name=folder ...`.

Rows are paired with the row of ten evaluations on the same starts: of the same evaluation, or of
`against=name`, one that is kept already. bench=folder keeps the latencies that `fewstep bench`
measured.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

from fewstep.policy.evaluation.statistics import paired_mean, paired_success, wilson

RESULTS = Path(__file__).parents[2] / "docs" / "results.json"
REFERENCE = 10  # evaluations
Row = dict[str, Any]


def share(rollouts: list[Row], key: str, value: object) -> Row | None:
    """Return how often info[key] is `value`, among the rollouts that say something else than ""."""
    answers = []
    for rollout in rollouts:
        answer = rollout["info"].get(key, "")
        if answer != "":
            answers.append(answer)
    if not answers:
        return None
    hits = answers.count(value)
    return {"hits": hits, "of": len(answers), "interval": list(wilson(hits, len(answers)))}


def keep(row: Row) -> Row:
    """Return a row of evaluation.json with each rollout as one digit and one score.

    What the rollouts say about the post is kept as shares.
    """
    rollouts = row["rollouts"]
    kept = dict(row)
    del kept["rollouts"]
    left = share(rollouts, "side", "left")
    touched = share(rollouts, "post_touched", True)
    if left:
        kept["left"] = left
    if touched:
        kept["touched"] = touched
    digits = [str(int(rollout["success"])) for rollout in rollouts]
    scores = [str(round(1000 * rollout["score"])) for rollout in rollouts]
    kept["won"] = "".join(digits)
    kept["scores_in_thousandths"] = " ".join(scores)
    return kept


def paired(ours: Row, theirs: Row) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return the differences ours - theirs in success and in score, each with its interval.

    They are of the starts that both have seen.
    """
    count = min(ours["episodes"], theirs["episodes"])
    success = paired_success(wins(ours, count), wins(theirs, count))
    score = paired_mean(scores(ours, count), scores(theirs, count))
    return success, score


def wins(row: Row, count: int) -> list[bool]:
    """Return which of the first rollouts succeeded."""
    return [digit == "1" for digit in row["won"][:count]]


def scores(row: Row, count: int) -> list[float]:
    """Return the scores of the first rollouts."""
    thousandths = row["scores_in_thousandths"].split()[:count]
    return [int(number) / 1000 for number in thousandths]


def reference(evaluation: Row) -> Row | None:
    """Return the row of ten evaluations, where there is one."""
    for row in evaluation["results"]:
        if row["network_evaluations"] == REFERENCE:
            return row
    return None


def line(name: str, row: Row, ten: Row | None) -> str:
    """Return the row in Markdown."""
    cells = [name, f"{row['sampler']['step']} {grid_of(row['sampler']['times'])}"]
    cells += [str(row["network_evaluations"]), str(row["episodes"])]
    cells.append(between(row["mean_max_reward"], row["mean_max_reward_interval"]))
    cells.append(between(row["success_rate"], row["interval"]))
    if ten and ten is not row:
        success, score = paired(row, ten)
        cells += [signed(success), signed(score)]
    else:
        cells += ["", ""]
    for key in ("left", "touched"):
        if key in row:
            cells.append(between(row[key]["hits"] / row[key]["of"], row[key]["interval"]))
    latency = row["latency_ms"]
    cells.append(f"{latency['p50']:.1f} / {latency['p99']:.1f}")
    return f"| {' | '.join(cells)} |"


def grid_of(times: list[float]) -> str:
    """Return a short grid as it is."""
    if len(times) >= 6:
        return "even"
    return ", ".join(f"{time:g}" for time in times)


def between(value: float, ends: list[float | None]) -> str:
    """A number with its interval."""
    return f"{value:.3f}" if None in ends else f"{value:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def signed(difference: tuple[float, float, float]) -> str:
    """A difference with its interval; none where no two starts differ."""
    value, low, high = difference
    if not math.isfinite(high - low):
        return f"{value:+.3f}"
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    """Read, keep, print."""
    results = json.loads(RESULTS.read_text())
    against = ""
    for argument in sys.argv[1:]:
        name, folder = argument.split("=", 1)
        if name == "against":
            against = folder
        elif name == "bench":
            results[name] = json.loads((Path(folder) / "bench.json").read_text())
        else:
            results[name] = kept_evaluation(Path(folder) / "evaluation.json")
            ten = reference(results[against or name])
            for row in results[name]["results"]:
                print(line(name, row, ten))
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def kept_evaluation(path: Path) -> Row:
    """Return what is kept of an evaluation."""
    evaluation = json.loads(path.read_text())
    kept = {key: evaluation[key] for key in ("task", "seed", "versions")}
    kept["results"] = [keep(row) for row in evaluation["results"]]
    return kept


if __name__ == "__main__":
    main()
