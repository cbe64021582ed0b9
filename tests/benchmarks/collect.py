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
    """How often info[key] is `value`, among the rollouts that say something else than ""."""
    found = [e["info"][key] == value for e in rollouts if e["info"].get(key, "") != ""]
    return (
        {"hits": sum(found), "of": len(found), "interval": list(wilson(sum(found), len(found)))}
        if found
        else None
    )


def keep(row: Row) -> Row:
    """A row of evaluation.json with each rollout as one digit and one score, and what they say
    about the post.
    """
    rollouts = row["rollouts"]
    shares = {
        "left": share(rollouts, "side", "left"),
        "touched": share(rollouts, "post_touched", True),
    }
    each = {"won": "".join(str(int(e["success"])) for e in rollouts)}
    each["scores_in_thousandths"] = " ".join(str(round(1000 * e["score"])) for e in rollouts)
    return (
        {k: v for k, v in row.items() if k != "rollouts"}
        | {k: v for k, v in shares.items() if v}
        | each
    )


def paired(a: Row, b: Row) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Differences a - b in success and in score, each with its interval, on the starts that both
    have seen.
    """
    n = min(a["episodes"], b["episodes"])
    wins = ([x == "1" for x in r["won"][:n]] for r in (a, b))
    scores = ([int(x) / 1000 for x in r["scores_in_thousandths"].split()[:n]] for r in (a, b))
    return paired_success(*wins), paired_mean(*scores)


def reference(evaluation: Row) -> Row | None:
    """The row of ten evaluations, where there is one."""
    return next((r for r in evaluation["results"] if r["network_evaluations"] == REFERENCE), None)


def line(name: str, r: Row, ten: Row | None) -> str:
    """The row in Markdown."""
    times = r["sampler"]["times"]
    grid = ", ".join(f"{t:g}" for t in times) if len(times) < 6 else "even"
    cells = [
        name,
        f"{r['sampler']['step']} {grid}",
        str(r["network_evaluations"]),
        str(r["episodes"]),
    ]
    cells += [
        between(r["mean_max_reward"], r["mean_max_reward_interval"]),
        between(r["success_rate"], r["interval"]),
    ]
    cells += [signed(d) for d in paired(r, ten)] if ten and ten is not r else ["", ""]
    cells += [
        between(s["hits"] / s["of"], s["interval"]) for k in ("left", "touched") if (s := r.get(k))
    ]
    cells.append(" / ".join(f"{r['latency_ms'][k]:.1f}" for k in ("p50", "p99")))
    return f"| {' | '.join(cells)} |"


def between(value: float, ends: list[float | None]) -> str:
    """A number with its interval."""
    return f"{value:.3f}" if None in ends else f"{value:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def signed(d: tuple[float, float, float]) -> str:
    """A difference with its interval; none where no two starts differ."""
    if not math.isfinite(d[2] - d[1]):
        return f"{d[0]:+.3f}"
    return f"{d[0]:+.3f} [{d[1]:+.3f}, {d[2]:+.3f}]"


def main() -> None:
    """Read, keep, print."""
    results, against = json.loads(RESULTS.read_text()), ""
    for name, folder in (argument.split("=", 1) for argument in sys.argv[1:]):
        if name == "against":
            against = folder
            continue
        if name == "bench":
            results[name] = json.loads((Path(folder) / "bench.json").read_text())
            continue
        evaluation = json.loads((Path(folder) / "evaluation.json").read_text())
        kept = {k: evaluation[k] for k in ("task", "seed", "versions")}
        results[name] = kept | {"results": [keep(r) for r in evaluation["results"]]}
        ten = reference(results[against] if against else results[name])
        print("\n".join(line(name, r, ten) for r in results[name]["results"]))
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
