"""`fewstep bench`: latency of a policy on this machine against its control period."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.console import Console
from rich.table import Table

from ...envs.atomic_files import write_file, writing
from ..evaluation.bench import ROUNDS, bench
from .progress import Bars


@dataclass(frozen=True)
class BenchSettings:
    """Measure the latency of a policy here, batch 1, against its control period.

    Writes bench.json. Eager PyTorch with 100 network evaluations, the textbook, is always measured
    beside the rest.
    """

    policy: str = MISSING  # a run folder, or a policy that comes with the package
    out: str = "out/bench"  # folder of bench.json
    engines: tuple[str, ...] = ("eager",)  # what computes the chunks
    network_evaluations: tuple[int, ...] = (1, 2, 3, 10)  # to measure
    calls: int = 200  # per row, in alternating rounds: a busy moment hits every row alike
    threads: int = 1  # of the CPU


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
    console.print(_table(result))
    encoder = result["encoder_ms"]
    console.print(
        f"of each chunk the encoder takes {encoder['median']:.2f} ms, p99 {encoder['p99']:.2f} ms"
    )
    return 0


def _table(result: Mapping[str, Any]) -> Table:
    period = result["control_period_ms"]
    textbook = result["rows"][-1]["median_ms"]  # the last row
    table = Table(
        "engine", "evaluations", "median ms", "p99 ms", "max ms", f"p99 / {period:g} ms", "speed-up"
    )
    for row in result["rows"]:
        table.add_row(
            row["engine"],
            str(row["network_evaluations"]),
            f"{row['median_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['max_ms']:.2f}",
            f"{100 * row['p99_ms'] / period:.0f} %",
            f"{textbook / row['median_ms']:.1f}",
        )
    return table
