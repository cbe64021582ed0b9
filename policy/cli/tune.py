"""`fewstep tune`: measure what each number of network evaluations buys, and keep the cheapest that loses nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING
from rich.console import Console

from ...demos.store import DemoStore
from ...envs import ConfigError, Obs
from ..checkpoint import SHIPPED, find_policy, load_policy, read_meta, save_policy
from ..diffusion.objectives import SINGLE_STEP
from ..diffusion.samplers import Sampler, even_grid
from ..evaluation import rollouts
from ..evaluation.chunk_quality import Nearby, unlike
from ..evaluation.statistics import paired_mean, paired_success
from ..policy import Policy
from .evaluate import run_evaluation
from .tables import tuning_tables

GRIDS = (
    *((1.0, 0.0), (1.0, 0.1, 0.0), (1.0, 0.2, 0.0), (1.0, 0.3, 0.0)),
    *((1.0, 0.5, 0.1, 0.0), (1.0, 0.6, 0.3, 0.0), (1.0, 0.7, 0.4, 0.1, 0.0)),
)
REFERENCE = 10  # evaluations with which all grids are compared


@dataclass(frozen=True)
class Tune:
    """Find the fewest network evaluations that are not worse than ten, and keep them in the checkpoint.

    task: a simulated one; every mode runs the same `episodes` validation starts, and counts as not worse where its
    success is, with 95 % confidence, less than `margin` below that of the reference: ten evaluations, or what a policy
    of a diffusion schedule was trained for. data: demonstrations; how far each mode's chunks lie from what was shown
    nearby. Without a task that decides, and is no measurement of success.
    """

    policy: str = MISSING
    task: str = ""
    data: str = ""
    episodes: int = 200
    margin: float = 0.05
    workers: int = 0


def tune(c: Tune, console: Console) -> int:
    """Measure, show, choose, and write choice and evidence into policy.json."""
    policy = load_policy(c.policy)
    tried = modes(policy)
    if (folder := find_policy(c.policy)).parent == SHIPPED:
        raise ConfigError(
            f"{c.policy} comes with fewstep, tuned: to tune it for something else, copy {folder}"
        )
    if not (c.task or c.data):
        raise ConfigError(
            "tune needs a task= to roll out in, demonstrations data= to compare with, or both"
        )
    rows: list[dict[str, Any]] = [{"sampler": asdict(s) | {"times": list(s.grid())}} for s in tried]
    for measure in [_near] * bool(c.data) + [_rolled] * bool(c.task):
        measured = measure(c, policy, tried, console)
        rows = [row | more for row, more in zip(rows, measured, strict=True)]
    k = choose(rows, tried, c.margin)
    for table in tuning_tables(rows, k):
        console.print(table)
    evidence = {
        "task": c.task,
        "data": c.data,
        "episodes": c.episodes if c.task else 0,
        "margin": c.margin,
    }
    evidence |= {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "modes": rows,
        "chosen": k,
    }
    tuned = policy.with_sampler(tried[k])
    save_policy(tuned, Path(c.policy), read_meta(c.policy)["provenance"] | {"tuned": evidence})
    n = tried[k].cost
    console.print(f"chosen for {c.policy}: {n} network evaluation{'s' if n > 1 else ''}")
    return 0


def modes(policy: Policy) -> list[Sampler]:
    """Samplers to compare, the reference last; ConfigError where a policy leaves no choice."""
    own = policy.config.drawn_by
    if policy.config.objective in SINGLE_STEP:
        raise ConfigError(
            "this policy is asked once, there is nothing to choose: set it beside another with compare="
        )
    if policy.path.preserving:
        return [
            *(
                replace(own, step="ddim", times=(), network_evaluations=n)
                for n in (2, 3, REFERENCE)
            ),
            own,
        ]
    first = own.grid()[0]
    grids = [(first, *g[1:]) for g in (*GRIDS, even_grid(REFERENCE))]
    return [replace(own, step="ddim", times=g, network_evaluations=len(g) - 1) for g in grids]


def choose(rows: Sequence[Mapping[str, Any]], tried: Sequence[Sampler], margin: float) -> int:
    """The cheapest mode whose loss against the last one is surely below `margin`; among equals the best."""
    key = "success_difference" if "success_difference" in rows[-1] else "like_difference"
    good = [i for i, row in enumerate(rows[:-1]) if row[key][1] > -margin]
    return min(good, key=lambda i: (tried[i].cost, -rows[i][key][0]), default=len(rows) - 1)


def _rolled(
    c: Tune, policy: Policy, tried: Sequence[Sampler], console: Console
) -> list[dict[str, Any]]:
    """Success of every mode on the same validation starts, and its difference from the last."""
    seeds = rollouts.seed_range(0, c.episodes)
    jobs = [rollouts.Job(c.policy, c.task, s, seeds) for s in tried]
    rows = run_evaluation(policy, jobs, console, c.workers)["results"]
    wins = [[e["success"] for e in row.pop("rollouts")] for row in rows]
    return [
        r | {"success_difference": paired_success(w, wins[-1])}
        for r, w in zip(rows, wins, strict=True)
    ]


def _near(
    c: Tune, policy: Policy, tried: Sequence[Sampler], console: Console
) -> list[dict[str, Any]]:
    """What the demonstrations say about every mode: means over observations, and the difference from the last."""
    nearby, store = Nearby.find(policy, c.data), DemoStore.open(c.data)
    first = {k: store.array(k, 0, 1)[0] for k in policy.spec.observations}
    obs = Obs(0.0, first, dict.fromkeys(first, 0.0))
    reference = (nearby.draw(policy, tried[-1], 0), nearby.draw(policy, tried[-1], 1))
    chunks = [nearby.draw(policy, s, 2) for s in tried]
    strange = [unlike(x, reference) for x in chunks]
    return [
        {k: v.mean().item() for k, v in (nearby.measure(x) | {"unlike": away}).items()}
        | {"like_difference": paired_mean((strange[-1] - away).numpy(), np.zeros(len(away)))}
        | {
            "network_evaluations": s.cost,
            "latency_ms": rollouts.latency(policy, s, obs),
        }
        for s, x, away in zip(tried, chunks, strange, strict=True)
    ]
