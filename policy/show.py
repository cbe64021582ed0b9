"""What the verbs show: progress, tables, versions."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ..envs import ConfigError
from .statistics import paired_mean, paired_success


def bar(console: Console) -> Progress:
    """A progress bar with counts and the time left."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, console=console)


def versions() -> dict[str, str]:
    """Versions of what decides how a simulation runs."""
    found = {}
    for name in ("fewstep", "mujoco", "gymnasium", "gym-pusht", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def results_table(evaluation: dict[str, Any]) -> Table:
    """A row per number of network evaluations."""
    table = Table("evaluations", "episodes", "success", "95 % interval", "score", "95 % interval", "latency p50 / p99")
    for r in evaluation["results"]:
        (a, b), (x, y), ms = r["interval"], r["mean_max_reward_interval"], r["latency_ms"]
        table.add_row(
            str(r["network_evaluations"]), str(r["episodes"]), f"{r['success_rate']:.3f}", f"{a:.3f} to {b:.3f}",
            f"{r['mean_max_reward']:.3f}", f"{x:.3f} to {y:.3f}", f"{ms['p50']:.1f} / {ms['p99']:.1f} ms",
        )  # fmt: skip
    return table


def comparison_table(ours: dict[str, Any], theirs: dict[str, Any]) -> Table:
    """Differences on the same seeds, every row of one evaluation against every row of the other."""
    table = Table("evaluations", "against", "success", "95 % interval", "score", "95 % interval", "so")
    for a in ours["results"]:
        for b in theirs["results"]:
            x, y = ({e["seed"]: e for e in r["rollouts"]} for r in (a, b))
            if x.keys() != y.keys():
                raise ConfigError("the two evaluations ran on different seeds: they cannot be paired")
            seeds = sorted(x)
            d = paired_success(*([r[s]["success"] for s in seeds] for r in (x, y)))
            e = paired_mean(*([r[s]["score"] for s in seeds] for r in (x, y)))
            verdict = "no difference" if d[1] <= 0 <= d[2] else ("better" if d[0] > 0 else "worse")
            counts = (str(r["network_evaluations"]) for r in (a, b))
            cells = (f"{v[0]:+.3f}|{v[1]:+.3f} to {v[2]:+.3f}".split("|") for v in (d, e))
            table.add_row(*counts, *[c for pair in cells for c in pair], verdict)
    return table
