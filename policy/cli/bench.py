"""`fewstep bench`: latency of a policy on this machine against its control period."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from ...envs.atomic_files import write_file, writing
from ..evaluation.bench import ROUNDS, TEXTBOOK, bench
from .printing import say
from .progress import Bars

BESIDE = ("encoder", "textbook")  # rows that are no engines


@dataclass(frozen=True)
class BenchSettings:
    """Measure the latency of a policy here, batch 1, against its control period.

    Writes bench.json and a picture. Where the weights are there, eager PyTorch with 100 network
    evaluations, the textbook, is measured beside the rest, and what this machine needs at least.
    """

    policy: str = MISSING  # a run folder, an exported one, or a policy that comes with the package
    out: str = "out/bench"  # folder of bench.json
    # what computes the chunks: eager, compiled, onnx, openvino, cpp; by default all but compiled
    # that can be used here
    engines: tuple[str, ...] = ()
    network_evaluations: tuple[int, ...] = (1, 2, 3, 10)  # to measure
    calls: int = 2000  # per row, in alternating rounds: a busy moment hits every row alike
    threads: tuple[int, ...] = (1,)  # of the CPU


def run(settings: BenchSettings, console: Console) -> int:
    """Measure, write, and show."""
    out = Path(settings.out)
    with writing(out):  # before the work, which would be lost
        out.mkdir(parents=True, exist_ok=True)
    with Bars(console) as bars:
        result = bench(
            settings.policy,
            engines=settings.engines,
            network_evaluations=settings.network_evaluations,
            calls=settings.calls,
            threads=settings.threads,
            on_round=lambda finished: bars.update("rounds", ROUNDS, finished, "rounds"),
        )
    write_file(out / "bench.json", json.dumps(result, indent=1).encode())
    if find_spec("matplotlib"):
        from ..evaluation.bench_chart import draw_bench

        write_file(out / "bench.png", draw_bench(result))
    console.print(_table(result))
    if "floor" in result:
        say(
            console,
            "error: largest distance of an action from double precision, as a share of its range; "
            "floor: what this machine needs to read or multiply the weights, measured just now",
        )
    else:
        say(console, "without its weights the policy is measured as it was exported")
    for row in result["rows"]:
        if row["engine"] == "encoder":
            say(console, f"of each chunk the encoder takes {_milliseconds(row)} in eager PyTorch")
        if row["engine"] == "textbook":
            evaluations = row["network_evaluations"]
            say(console, f"{evaluations} evaluations in eager PyTorch take {_milliseconds(row)}")
    say(console, f"written to {out}")
    return 0


def _milliseconds(row: Mapping[str, Any]) -> str:
    return f"{row['median_ms']:.2f} ms, p99 {row['p99_ms']:.2f} ms"


def _table(result: Mapping[str, Any]) -> Table:
    """Return a row per mode, in milliseconds; ratios are those of medians."""
    rows = [row for row in result["rows"] if row["engine"] not in BESIDE]
    medians: dict[tuple[str, int], float] = {}
    for row in result["rows"]:
        medians.setdefault((row["engine"], row["network_evaluations"]), row["median_ms"])
    textbook = medians.get(("textbook", TEXTBOOK))
    period = result["control_period_ms"]
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    headers = ["engine", "evals", "median\nms", "p99\nms", "max\nms", f"p99 of\n{period:g} ms"]
    if textbook:  # else there are no weights here to compare with
        headers += ["error", "times\nfloor", "eager\ntakes x", f"{TEXTBOOK} evals\ntake x"]
    for header in headers:
        table.add_column(header, no_wrap=True)
    several = len({row["threads"] for row in rows}) > 1
    for row in rows:
        median = row["median_ms"]
        threads = f" x{row['threads']}" if several else ""
        cells = [row["engine"] + threads, str(row["network_evaluations"])]
        cells += [f"{row[key]:.3g}" for key in ("median_ms", "p99_ms", "max_ms")]
        cells.append(f"{100 * row['p99_ms'] / period:.2g} %")
        if textbook:
            eager = medians.get(("eager", row["network_evaluations"]))
            cells += [f"{row['error']:.0e}", f"{median / row['floor_ms']:.2f}"]
            cells.append(f"{eager / median:.1f}" if eager else "")
            cells.append(f"{textbook / median:.0f}")
        table.add_row(*cells)
    return table
