"""What the verbs print of evaluations: tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from ..evaluation.comparison import (
    Comparison,
    compare,
    describe,
    is_paired,
    label_results,
    reference_result,
)
from ..evaluation.tune import Tuning
from .printing import say


def results_table(evaluation: Mapping[str, Any]) -> Table:
    """Return a table with a row per number of network evaluations, or per delay."""
    results = evaluation["results"]
    delayed = any(_is_delayed(result) for result in results)
    if delayed:
        table = _table("evals", "n", "success [95 %]", "score [95 %]", "delay", "seam", "jerk")
    else:
        table = _table("evals", "episodes", "success [95 %]", "score [95 %]", "p50 ms", "p99 ms")
    for result in results:
        success = _estimate(result["success_rate"], result["interval"])
        score = _estimate(result["mean_max_reward"], result["mean_max_reward_interval"])
        cells = [str(result["network_evaluations"]), str(result["episodes"]), success, score]
        if delayed:
            cells += [_delay(result), _number(result["seam"]), _number(result["jerk"])]
        else:
            cells += _latencies(result)
        table.add_row(*cells)
    return table


def open_loop_table(content: Mapping[str, Any]) -> Table:
    """Return a table of open_loop.json [%]: a row per number of network evaluations and reference.

    A second line of each cell is its interval.
    """
    first = f"first {content['action_steps']} [%]"
    table = _table("evals", first, f"all {content['horizon']} [%]", "minus hold", "minus nearest")
    for result in content["results"]:
        cells = [str(result["network_evaluations"]), *_open_loop_errors(result)]
        cells += [_open_loop_difference(result[f"minus_{name}"]) for name in ("hold", "nearest")]
        table.add_row(*cells)
    for name, reference in content["references"].items():
        if reference is not None:
            table.add_row(name, *_open_loop_errors(reference))
    return table


def _open_loop_errors(result: Mapping[str, Any]) -> list[str]:
    cells = []
    for key in ("executed", "chunk"):
        interval = _percent_interval(result[key]["interval"])
        cells.append(f"{100 * result[key]['share']:.2f}{interval}")
    return cells


def _open_loop_difference(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    interval = _percent_interval(found["interval"], sign="+")
    return f"{100 * found['difference']:+.2f} {found['verdict']}{interval}"


def _percent_interval(ends: Sequence[float | None], sign: str = "") -> str:
    """Return an interval [%] as a line of its own, nothing where it is not known."""
    low, high = ends
    if low is None or high is None:
        return ""
    return f"\n[{100 * low:{sign}.2f}, {100 * high:{sign}.2f}]"


def tuning_tables(tuning: Tuning) -> list[Table]:
    """Return what `tune` found of rollouts and of chunks, as far as there is."""
    rows = tuning.rows
    against = f"minus {rows[-1]['network_evaluations']} evals [95 %]"
    tables = []
    if "score_difference" in rows[0]:
        judged = rows[-1]["success_rate"] is not None
        value = "success [95 %]" if judged else "score [95 %]"
        tables.append(_table("evals", "times", value, against, "p50 ms"))
        for index, row in enumerate(rows):
            cells = [*_mode(row), *_outcome(row), _latencies(row)[0]]
            tables[-1].add_row(*cells, style=_bold(index == tuning.chosen))
    if "unlike" in rows[0]:
        tables.append(_table("evals", "times", "spread", "off span", "far", "unlike", against))
        for index, row in enumerate(rows):
            cells = list(_mode(row))
            for key in ("spread", "off_span", "far", "unlike"):
                cells.append(_number(row[key]))
            value, low, high = row["like_difference"]
            cells.append(_difference((-value, -high, -low)))
            tables[-1].add_row(*cells, style=_bold(index == tuning.chosen))
    return tables


def print_tuning(console: Console, tuning: Tuning) -> None:
    """Print what `tune` found, what it could not decide, and what it chose."""
    for table in tuning_tables(tuning):
        console.print(table)
    for line in tuning.undecided():
        say(console, line)
    count = tuning.sampler.cost
    console.print(f"chosen: {count} network evaluation{'s' if count > 1 else ''}")


def print_differences(console: Console, evaluation: Mapping[str, Any]) -> None:
    """Print how the results of one evaluation differ from its reference, on the same starts."""
    results = evaluation["results"]
    if len(results) < 2 or not is_paired(evaluation):
        return
    if any(result["mean_max_reward"] is None for result in results):
        return
    reference = reference_result(results)
    labels = label_results(results)
    other = labels[results.index(reference)]
    pairs = []
    for result, label in zip(results, labels, strict=True):
        if result is not reference:
            pairs.append((label, other, compare(result, reference)))
    _print_comparisons(console, pairs, "evals", "minus")


def print_comparison(console: Console, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Print how every result of one evaluation differs from every result of the other."""
    our_labels = label_results(ours["results"])
    their_labels = label_results(theirs["results"])
    pairs = []
    for our_result, our_label in zip(ours["results"], our_labels, strict=True):
        for their_result, their_label in zip(theirs["results"], their_labels, strict=True):
            pairs.append((our_label, their_label, compare(our_result, their_result)))
    _print_comparisons(console, pairs, "these", "those")


def _print_comparisons(
    console: Console, pairs: Sequence[tuple[str, str, Comparison]], ours: str, theirs: str
) -> None:
    table = _table(ours, theirs, "success [95 %]", "score [95 %]", "verdict")
    for our_label, their_label, found in pairs:
        success = _difference(found.success)
        table.add_row(our_label, their_label, success, _difference(found.score), found.verdict)
    console.print(table)
    for our_label, their_label, found in pairs:
        if found.more_episodes:
            say(console, f"{our_label} against {their_label}: {describe(found)}")


def _table(*headers: str) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        table.add_column(header, no_wrap=True)
    return table


def _bold(wanted: bool) -> str:
    return "bold" if wanted else ""


def _outcome(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return success and what it lacks, or the score where success is not known."""
    if row["success_rate"] is not None:
        value = _estimate(row["success_rate"], row["interval"])
        return value, _difference(row["success_difference"])
    value = _estimate(row["mean_max_reward"], row["mean_max_reward_interval"])
    return value, _difference(row["score_difference"])


def _mode(row: Mapping[str, Any]) -> tuple[str, str]:
    times = row["sampler"]["times"]
    if len(times) >= 6:
        return str(row["network_evaluations"]), "even"
    shortened = [f"{time:g}".removeprefix("0") or "0" for time in times]
    return str(row["network_evaluations"]), " ".join(shortened)


def _is_delayed(result: Mapping[str, Any]) -> bool:
    return bool(result["delay_ticks"] or result["jitter_ticks"] or result["recorded"])


def _delay(result: Mapping[str, Any]) -> str:
    base = "run" if result["recorded"] else str(result["delay_ticks"])
    jitter = result["jitter_ticks"]
    return f"{base}+{jitter:g}" if jitter else base


def _latencies(result: Mapping[str, Any]) -> list[str]:
    latency = result["latency_ms"]
    return [f"{latency['p50']:.1f}", f"{latency['p99']:.1f}"]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _difference(difference: Sequence[float] | None) -> str:
    """Return a difference with its interval; a dash where it is not known."""
    if difference is None:
        return "–"
    value, low, high = difference
    return _between(f"{value or 0.0:+.3f}", low, high, sign="+")


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
