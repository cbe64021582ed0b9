"""`fewstep bench`: latency of one policy on this machine against its control period."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import MISSING
from rich.console import Console
from rich.table import Table

from ..checkpoint import load_policy, write_file
from ..engines.eager import EagerEngine
from ..policy import Policy
from ..serving.runners import draw_noise


@dataclass(frozen=True)
class Bench:
    """Measure the latency of a policy here, batch 1, against its control period; writes bench.json.

    evaluations: numbers of network evaluations; 100 eager ones, the textbook, are always measured beside them.
    calls: per row, in alternating rounds, so that a busy moment of the machine hits every row alike.
    """

    policy: str = MISSING
    out: str = "out/bench"
    network_evaluations: tuple[int, ...] = (1, 2, 3, 10)
    calls: int = 200
    threads: int = 1


def bench(c: Bench, console: Console) -> int:
    """Time every engine and number of evaluations in turn."""
    torch.set_num_threads(c.threads)
    policy = load_policy(c.policy)
    runs = {("eager", n): _engine(policy, n) for n in (*c.network_evaluations, 100)}
    rows = [
        {
            "engine": engine,
            "network_evaluations": n,
            "threads": c.threads,
            "calls": len(ms),
            **_figures(ms),
        }
        for (engine, n), ms in measure(runs, c.calls).items()
    ]
    result = {
        "policy": c.policy,
        "parameters": sum(p.numel() for p in policy.parameters()),
        "control_period_ms": 1e3 / policy.spec.command_hz,
        "rows": rows,
    }
    Path(c.out).mkdir(parents=True, exist_ok=True)
    write_file(Path(c.out) / "bench.json", json.dumps(result, indent=1).encode())
    console.print(_table(result))
    return 0


def measure(
    runs: Mapping[Any, Callable[[], object]], calls: int, rounds: int = 10
) -> dict[Any, np.ndarray]:
    """Wall times [ms] of every run, in alternating rounds after a warm-up."""
    times: dict[Any, list[float]] = {key: [] for key in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for key, run in runs.items():
            for _ in range(max(1, calls // rounds)):
                began = time.perf_counter()
                run()
                times[key].append(1e3 * (time.perf_counter() - began))
    return {key: np.array(ms) for key, ms in times.items()}


def _engine(policy: Policy, evaluations: int) -> Callable[[], np.ndarray]:
    """A whole chunk for one observation, from an engine."""
    engine = EagerEngine(policy, policy.config.drawn_by.at(evaluations))
    obs = {}
    for key, field in policy.spec.observations.items():
        obs[key] = np.zeros((1, policy.config.observation_steps, *field.shape), np.float32)
    noise = draw_noise(engine, seed=0)[:, None]
    return lambda: engine.predict(obs, noise)


def _figures(ms: np.ndarray) -> dict[str, float]:
    numbers = {
        "median": np.median(ms),
        "p99": np.percentile(ms, 99),
        "max": ms.max(),
        "floor": ms.min(),
    }
    return {f"{k}_ms": float(v) for k, v in numbers.items()}


def _table(result: dict[str, Any]) -> Table:
    period, textbook = result["control_period_ms"], result["rows"][-1]["median_ms"]
    table = Table(
        "engine", "evaluations", "median ms", "p99 ms", "max ms", f"p99 / {period:g} ms", "speed-up"
    )
    for r in result["rows"]:
        ms = (f"{r[k]:.2f}" for k in ("median_ms", "p99_ms", "max_ms"))
        share, gain = f"{100 * r['p99_ms'] / period:.0f} %", f"{textbook / r['median_ms']:.1f}"
        table.add_row(r["engine"], str(r["network_evaluations"]), *ms, share, gain)
    return table
