"""What the verbs print: lines and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from ...envs import ConfigError
from ..evaluation.statistics import paired_mean, paired_success


def say(console: Console, text: str, style: str = "", end: str = "\n") -> None:
    """Print a line as it is: brackets are no markup, and a narrow terminal breaks it where it likes."""
    console.print(text, style=style, markup=False, soft_wrap=True, end=end)


def print_raw(console: Console, text: str) -> None:
    """Print on a raw terminal, which does not return to the left by itself."""
    for line in text.splitlines():
        say(console, line, end="\r\n")


def results_table(evaluation: dict[str, Any]) -> Table:
    """A row per number of network evaluations, or per delay."""
    late = any(
        r["delay_ticks"] or r["jitter_ticks"] or r["recorded"] for r in evaluation["results"]
    )
    last = ("delay", "seam", "jerk") if late else ("p50 ms", "p99 ms")
    table = _table("evals", "n" if late else "episodes", "success [95 %]", "score [95 %]", *last)
    for r in evaluation["results"]:
        success = _estimate(r["success_rate"], r["interval"])
        score = _estimate(r["mean_max_reward"], r["mean_max_reward_interval"])
        smooth = [f"{r[k]:.3f}" if r[k] is not None else "" for k in ("seam", "jerk")]
        more = [_delay(r), *smooth] if late else _latencies(r)
        table.add_row(str(r["network_evaluations"]), str(r["episodes"]), success, score, *more)
    return table


def tuning_tables(rows: Sequence[Mapping[str, Any]], chosen: int) -> list[Table]:
    """What `tune` found: rollouts, and how the chunks lie to the demonstrations, as far as there are such."""
    against = f"minus {rows[-1]['network_evaluations']} evals [95 %]"
    rolled, near = "success_rate" in rows[0], "unlike" in rows[0]
    success = _table("evals", "times", "success [95 %]", against, "p50 ms")
    chunks = _table("evals", "times", "spread", "off span", "far", "unlike", against)
    for i, r in enumerate(rows):
        style = "bold" if i == chosen else ""
        if rolled:
            rate, less = (
                _between(f"{r['success_rate']:.3f}", *r["interval"]),
                _difference(r["success_difference"]),
            )
            success.add_row(*_mode(r), rate, less, _latencies(r)[0], style=style)
        if near:
            values = [f"{r[k]:.3f}" for k in ("spread", "off_manifold", "far", "unlike")]
            chunks.add_row(
                *_mode(r), *values, _difference([-x for x in r["like_difference"]]), style=style
            )
    return [success] * rolled + [chunks] * near


def comparison_table(ours: dict[str, Any], theirs: dict[str, Any]) -> Table:
    """Differences on the same seeds, every row of one evaluation against every row of the other."""
    table = _table("these", "those", "success [95 %]", "score [95 %]", "verdict")
    for a in ours["results"]:
        for b in theirs["results"]:
            x, y = ({e["seed"]: e for e in r["rollouts"]} for r in (a, b))
            if x.keys() != y.keys():
                raise ConfigError(
                    "the two evaluations ran on different seeds: they cannot be paired"
                )
            e = paired_mean(*([r[s]["score"] for s in x] for r in (x, y)))
            judged = all(rollout["success"] is not None for r in (x, y) for rollout in r.values())
            d = paired_success(*([r[s]["success"] for s in x] for r in (x, y))) if judged else e
            verdict = "no difference" if d[1] <= 0 <= d[2] else ("better" if d[0] > 0 else "worse")
            cells = [_difference(d) if judged else "–", _difference(e)]
            table.add_row(
                str(a["network_evaluations"]), str(b["network_evaluations"]), *cells, verdict
            )
    return table


def _table(*headers: str) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        table.add_column(header, no_wrap=True)
    return table


def _mode(row: Mapping[str, Any]) -> tuple[str, str]:
    times = row["sampler"]["times"]
    grid = " ".join(f"{t:g}".removeprefix("0") or "0" for t in times) if len(times) < 6 else "even"
    return str(row["network_evaluations"]), grid


def _delay(row: Mapping[str, Any]) -> str:
    base, jitter = "run" if row["recorded"] else f"{row['delay_ticks']}", row["jitter_ticks"]
    return f"{base}+{jitter:g}" if jitter else base


def _latencies(row: Mapping[str, Any]) -> list[str]:
    return [f"{row['latency_ms'][k]:.1f}" for k in ("p50", "p99")]


def _difference(d: Sequence[float]) -> str:
    return _between(f"{d[0] or 0.0:+.3f}", *sorted(d[1:]), sign="+")


def _estimate(value: float | None, interval: Sequence[float | None] | None) -> str:
    """Return a value with its interval; a dash where it is not known."""
    if value is None:
        return "–"
    low, high = interval or (None, None)
    return _between(f"{value:.3f}", low, high)


def _between(value: str, low: float | None, high: float | None, sign: str = "") -> str:
    if low is None or high is None or not math.isfinite(high - low):
        return value
    return f"{value} [{low:{sign}.3f}, {high:{sign}.3f}]"
