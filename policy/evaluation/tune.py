"""Tuning: what each number of network evaluations buys, and the cheapest that loses nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...demos.store import DemoStore
from ...envs import ConfigError, Obs
from ...envs.seeds import evaluation_seeds
from ..checkpoint import load_policy, save_policy
from ..diffusion.objectives import SINGLE_STEP
from ..diffusion.samplers import Sampler, even_grid
from ..engines.export import FORMATS, export_policy
from ..engines.exported import has_export
from ..engines.loading import load_engine, require_engine
from ..ensemble_folder import require_alone
from ..policy import Policy
from ..policy_folder import SHIPPED, find_policy, read_meta
from .chunk_quality import Nearby, measure_unlike
from .comparison import compare
from .evaluate import OnRollouts, evaluate
from .job import Job
from .latency import measure_latency
from .statistics import Difference, paired_mean

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

    def undecided(self) -> list[str]:
        """Return a line for every cheaper mode that more rollouts might show to lose nothing."""
        lines = []
        for row, sampler in zip(self.rows, self.tried, strict=True):
            more = row.get("more_episodes", 0)
            _, low, high = _deciding(row)
            if not more or sampler.cost >= self.sampler.cost or low > -row["margin"] or high < 0:
                continue
            grid = ", ".join(f"{time:g}" for time in sampler.grid())
            lines.append(
                f"undecided for [{grid}]: {row['episodes']} episodes cannot show a loss below"
                f" {row['margin']:.3g}; {more} more would tell"
            )
        return lines


def tune(
    policy_name: Path | str,
    *,
    task: str = "",
    data: str = "",
    episodes: int = 200,
    margin: float = 0.05,
    workers: int = 0,
    engine: str = "eager",
    on_rollouts: OnRollouts = lambda job, count: None,
) -> Tuning:
    """Measure every mode, choose, and write choice and evidence into the policy's policy.json.

    Args:
        policy_name: A run folder.
        task: A simulated task, rolled out on validation starts; "" for none.
        data: Demonstrations that the chunks of every mode are compared with; "" for none.
        episodes: Rollouts per mode.
        margin: Loss of success that counts as none; of scores, this share of their span.
        workers: Processes, 0 for one per core.
        engine: What computes the chunks.
        on_rollouts: Progress.
    """
    require_engine(engine)
    require_alone(policy_name, "tune")
    policy = load_policy(policy_name)
    tried = modes(policy)
    _require_tunable(policy_name, task, data)
    rows: list[dict[str, Any]] = []
    for sampler in tried:
        rows.append({"sampler": asdict(sampler) | {"times": list(sampler.grid())}})
    if data:
        _add(rows, _compare_chunks(policy_name, policy, data, tried, engine))
    if task:
        seeds = evaluation_seeds(0, episodes)
        jobs = [Job(str(policy_name), task, sampler, seeds, engine=engine) for sampler in tried]
        _add(rows, _compare_success(jobs, margin, workers, on_rollouts))
    tuning = Tuning(rows, tried, choose(rows, tried, margin))
    evidence = {"task": task, "data": data, "episodes": episodes if task else 0, "margin": margin}
    _keep(policy_name, policy, tuning, evidence)
    return tuning


def _keep(
    policy_name: Path | str, policy: Policy, tuning: Tuning, evidence: Mapping[str, Any]
) -> None:
    """Write the choice into the policy's policy.json, with what it rests on."""
    tuned = {
        **evidence,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "modes": tuning.rows,
        "chosen": tuning.chosen,
    }
    provenance = read_meta(policy_name)["provenance"] | {"tuned": tuned}
    folder = Path(policy_name)
    save_policy(policy.with_sampler(tuning.sampler), folder, provenance)
    for format in FORMATS:
        if has_export(folder, format):  # of the sampler before
            export_policy(folder, format=format)


def _require_tunable(policy_name: Path | str, task: str, data: str) -> None:
    folder = find_policy(policy_name)
    if folder.parent == SHIPPED:
        raise ConfigError(
            f"{policy_name} comes with fewstep, tuned: to tune it for something else, copy {folder}"
        )
    if not (task or data):
        raise ConfigError(
            "tune needs a task= to roll out in, demonstrations data= to compare with, or both"
        )


def _add(rows: Sequence[dict[str, Any]], more: Sequence[Mapping[str, Any]]) -> None:
    for row, found in zip(rows, more, strict=True):
        row.update(found)


def modes(policy: Policy) -> list[Sampler]:
    """Return samplers to compare, the reference last; ConfigError where there is no choice."""
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
    """Return the cheapest mode that surely loses less than `margin` against the last.

    Among equals the best; success decides, or score, or chunks, whichever is known first. `margin`
    is a share of the span of the scores where these decide.
    """
    good = []
    for index, row in enumerate(rows[:-1]):
        _, low, _ = _deciding(row)
        if low > -row.get("margin", margin):
            good.append(index)
    if not good:
        return len(rows) - 1
    return min(good, key=lambda index: (tried[index].cost, -_deciding(rows[index])[0]))


def _deciding(row: Mapping[str, Any]) -> Difference:
    """Return the difference from the last mode that the choice goes by."""
    for key in ("success_difference", "score_difference", "like_difference"):
        if row.get(key) is not None:
            return row[key]
    raise ConfigError("neither success nor score of the task is known: tune with data= alone")


def _compare_success(
    jobs: Sequence[Job], margin: float, workers: int, on_rollouts: OnRollouts
) -> list[dict[str, Any]]:
    """Return what every mode reached on the same starts, and how it differs from the last."""
    evaluation = evaluate(jobs, workers=workers, paired_by="tune", on_rollouts=on_rollouts)
    results = evaluation["results"]
    rows = []
    for result in results:
        found = compare(result, results[-1], margin)
        row = dict(result)
        del row["rollouts"]
        row["success_difference"] = found.success
        row["score_difference"] = found.score
        row["margin"] = found.margin
        row["verdict"] = found.verdict
        row["more_episodes"] = found.more_episodes
        rows.append(row)
    return rows


def _compare_chunks(
    policy_name: Path | str, policy: Policy, data: str, tried: Sequence[Sampler], engine: str
) -> list[dict[str, Any]]:
    """Return means over observations for every mode, and how it differs from the last."""
    nearby = Nearby.find(policy, data)
    store = DemoStore.open(data)
    first = {key: store.array(key, 0, 1)[0] for key in policy.spec.observations}
    observation = Obs(0.0, first, dict.fromkeys(first, 0.0))
    reference = (nearby.draw(policy, tried[-1], 0), nearby.draw(policy, tried[-1], 1))
    chunks = [nearby.draw(policy, sampler, 2) for sampler in tried]
    unlikeness = [measure_unlike(drawn, reference) for drawn in chunks]
    rows = []
    for sampler, drawn, own in zip(tried, chunks, unlikeness, strict=True):
        measured = nearby.measure(drawn) | {"unlike": own}
        row: dict[str, Any] = {key: values.mean().item() for key, values in measured.items()}
        row["like_difference"] = paired_mean((-own).numpy(), (-unlikeness[-1]).numpy())
        row["network_evaluations"] = sampler.cost
        row["latency_ms"] = measure_latency(load_engine(policy_name, engine, sampler), observation)
        rows.append(row)
    return rows
