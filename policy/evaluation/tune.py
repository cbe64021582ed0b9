"""Tuning: what each number of network evaluations buys, and the cheapest that loses nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...demos.store import DemoStore
from ...envs import ConfigError, Obs
from ...envs.seeds import evaluation_seeds
from ..checkpoint import load_policy, save_policy
from ..diffusion.objectives import SINGLE_STEP
from ..diffusion.samplers import Sampler, even_grid
from ..engines.eager import EagerEngine
from ..policy import Policy
from ..policy_folder import SHIPPED, find_policy, read_meta
from .chunk_quality import Nearby, unlike
from .evaluate import OnRollouts, evaluate
from .job import Job
from .latency import measure_latency
from .same_starts import require_seeded
from .statistics import paired_mean, paired_success

GRIDS = (
    (1.0, 0.0),
    (1.0, 0.1, 0.0),
    (1.0, 0.2, 0.0),
    (1.0, 0.3, 0.0),
    (1.0, 0.5, 0.1, 0.0),
    (1.0, 0.6, 0.3, 0.0),
    (1.0, 0.7, 0.4, 0.1, 0.0),
)
REFERENCE = 10  # network evaluations with which all grids are compared


@dataclass(frozen=True)
class Tuning:
    """What was found: a row per mode, the reference last, and which one was chosen."""

    rows: list[dict[str, Any]]
    tried: list[Sampler]
    chosen: int

    @property
    def sampler(self) -> Sampler:
        """The chosen one."""
        return self.tried[self.chosen]


def tune(
    policy_name: Path | str,
    *,
    task: str = "",
    data: str = "",
    episodes: int = 200,
    margin: float = 0.05,
    workers: int = 0,
    on_rollouts: OnRollouts = lambda job, count: None,
) -> Tuning:
    """Measure every mode, choose, and write choice and evidence into the policy's policy.json.

    Args:
        policy_name: A run folder.
        task: A simulated task, rolled out on validation starts; "" for none.
        data: Demonstrations that the chunks of every mode are compared with; "" for none.
        episodes: Rollouts per mode.
        margin: Loss of success that counts as none.
        workers: Processes, 0 for one per core.
        on_rollouts: Progress.
    """
    policy = load_policy(policy_name)
    tried = modes(policy)
    folder = find_policy(policy_name)
    if folder.parent == SHIPPED:
        raise ConfigError(
            f"{policy_name} comes with fewstep, tuned: to tune it for something else, copy {folder}"
        )
    if not (task or data):
        raise ConfigError(
            "tune needs a task= to roll out in, demonstrations data= to compare with, or both"
        )
    rows: list[dict[str, Any]] = []
    for sampler in tried:
        rows.append({"sampler": asdict(sampler) | {"times": list(sampler.grid())}})
    if data:
        _add(rows, _compare_chunks(policy, data, tried))
    if task:
        seeds = evaluation_seeds(0, episodes)
        jobs = [Job(str(policy_name), task, sampler, seeds) for sampler in tried]
        require_seeded(jobs[0], "tune")
        _add(rows, _compare_success(jobs, workers, on_rollouts))
    tuning = Tuning(rows, tried, choose(rows, tried, margin))
    evidence = {
        "task": task,
        "data": data,
        "episodes": episodes if task else 0,
        "margin": margin,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "modes": rows,
        "chosen": tuning.chosen,
    }
    provenance = read_meta(policy_name)["provenance"] | {"tuned": evidence}
    save_policy(policy.with_sampler(tuning.sampler), Path(policy_name), provenance)
    return tuning


def _add(rows: Sequence[dict[str, Any]], more: Sequence[Mapping[str, Any]]) -> None:
    for row, found in zip(rows, more, strict=True):
        row.update(found)


def modes(policy: Policy) -> list[Sampler]:
    """Return samplers to compare, the reference last; ConfigError where a policy leaves no choice."""
    own = policy.config.drawn_by
    if policy.config.objective in SINGLE_STEP:
        raise ConfigError(
            "this policy is asked once, there is nothing to choose: "
            "set it beside another with compare="
        )
    if policy.path.preserving:
        few = []
        for count in (2, 3, REFERENCE):
            few.append(replace(own, step="ddim", times=(), network_evaluations=count))
        return [*few, own]
    start = own.grid()[0]
    samplers = []
    for grid in (*GRIDS, even_grid(REFERENCE)):
        times = (start, *grid[1:])
        count = len(times) - 1
        samplers.append(replace(own, step="ddim", times=times, network_evaluations=count))
    return samplers


def choose(rows: Sequence[Mapping[str, Any]], tried: Sequence[Sampler], margin: float) -> int:
    """Return the cheapest mode whose loss against the last is surely below `margin`; among equals the best."""
    key = "success_difference" if "success_difference" in rows[-1] else "like_difference"
    good = [index for index, row in enumerate(rows[:-1]) if row[key][1] > -margin]
    if not good:
        return len(rows) - 1
    return min(good, key=lambda index: (tried[index].cost, -rows[index][key][0]))


def _compare_success(
    jobs: Sequence[Job], workers: int, on_rollouts: OnRollouts
) -> list[dict[str, Any]]:
    """Return success of every mode on the same validation starts, and its difference from the last."""
    results = evaluate(jobs, workers=workers, on_rollouts=on_rollouts)["results"]
    successes = []
    for result in results:
        successes.append([rollout["success"] for rollout in result.pop("rollouts")])
    for result, own in zip(results, successes, strict=True):
        result["success_difference"] = paired_success(own, successes[-1])
    return results


def _compare_chunks(policy: Policy, data: str, tried: Sequence[Sampler]) -> list[dict[str, Any]]:
    """Return what the demonstrations say about every mode: means over observations, and the difference from the last."""
    nearby = Nearby.find(policy, data)
    store = DemoStore.open(data)
    first = {key: store.array(key, 0, 1)[0] for key in policy.spec.observations}
    observation = Obs(0.0, first, dict.fromkeys(first, 0.0))
    reference = (nearby.draw(policy, tried[-1], 0), nearby.draw(policy, tried[-1], 1))
    chunks = [nearby.draw(policy, sampler, 2) for sampler in tried]
    unlikeness = [unlike(drawn, reference) for drawn in chunks]
    rows = []
    for sampler, drawn, own in zip(tried, chunks, unlikeness, strict=True):
        measured = nearby.measure(drawn) | {"unlike": own}
        row: dict[str, Any] = {key: values.mean().item() for key, values in measured.items()}
        less = (unlikeness[-1] - own).numpy()
        row["like_difference"] = paired_mean(less, np.zeros(len(less)))
        row["network_evaluations"] = sampler.cost
        row["latency_ms"] = measure_latency(EagerEngine(policy, sampler), observation)
        rows.append(row)
    return rows
