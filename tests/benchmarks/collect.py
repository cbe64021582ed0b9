"""Keep evaluations in docs/results.json, and print their rows: `python tests/benchmarks/collect.py name=folder ...`."""

import json
import sys
from pathlib import Path
from typing import Any

from fewstep.policy.statistics import wilson

RESULTS = Path(__file__).parents[2] / "docs" / "results.json"


def share(rollouts: list[dict[str, Any]], key: str, value: object) -> dict[str, Any] | None:
    """How often info[key] is `value`, among the rollouts that say something else than ""."""
    found = [e["info"][key] == value for e in rollouts if e["info"].get(key, "") != ""]
    return {"hits": sum(found), "of": len(found), "interval": list(wilson(sum(found), len(found)))} if found else None


def keep(row: dict[str, Any]) -> dict[str, Any]:
    """A row of evaluation.json without its rollouts, but with what they say about the post."""
    shares = {"left": share(row["rollouts"], "side", "left"), "touched": share(row["rollouts"], "post_touched", True)}
    rest = {k: v for k, v in row.items() if k != "rollouts"}
    return rest | {k: v for k, v in shares.items() if v}


def line(name: str, r: dict[str, Any]) -> str:
    """The row in Markdown."""
    cells = [name, str(r["network_evaluations"]), str(r["episodes"])]
    cells += [between(r["mean_max_reward"], r["mean_max_reward_interval"]), between(r["success_rate"], r["interval"])]
    cells += [between(s["hits"] / s["of"], s["interval"]) for k in ("left", "touched") if (s := r.get(k))]
    cells.append(" / ".join(f"{r['latency_ms'][k]:.1f}" for k in ("p50", "p99")))
    return f"| {' | '.join(cells)} |"


def between(value: float, ends: list[float | None]) -> str:
    """A number with its interval."""
    return f"{value:.3f}" if None in ends else f"{value:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def main() -> None:
    """Read, keep, print."""
    results = json.loads(RESULTS.read_text())
    for name, folder in (argument.split("=", 1) for argument in sys.argv[1:]):
        evaluation = json.loads((Path(folder) / "evaluation.json").read_text())
        rows = [keep(r) for r in evaluation["results"]]
        results[name] = {k: evaluation[k] for k in ("task", "seed", "versions")} | {"results": rows}
        print("\n".join(line(name, r) for r in rows))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
