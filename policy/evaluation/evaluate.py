"""Evaluations: jobs rolled out, summed up, measured; and looking again at the rollouts that failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...envs import FewstepError
from ...envs.errors import refusing
from ...envs.tables import read_json
from ...envs.versions import versions
from ..checkpoint import load_policy, require_match
from ..diffusion.samplers import Sampler
from ..engines.loading import load_engine
from .films import film
from .job import Job
from .latency import measure_latency
from .rollouts import roll_out_all
from .summary import summarise

OnRollouts = Callable[[Job, int], None]  # hears of which job so many more rollouts are done


@dataclass(frozen=True)
class Failures:
    """What was seen of the failures of an evaluation: videos, and how many of how many episodes had failed."""

    videos: list[Path]
    failed: int
    episodes: int


def evaluate(
    jobs: Sequence[Job],
    *,
    workers: int = 0,
    on_rollouts: OnRollouts = lambda job, count: None,
) -> dict[str, Any]:
    """Roll out every job and measure its latency; return the content of evaluation.json.

    Args:
        jobs: Of one policy and one task.
        workers: Processes, 0 for one per core; they change nothing but the time.
        on_rollouts: Progress.
    """
    first = jobs[0]
    policy = load_policy(first.policy)
    with closing(first.make_robot()) as robot:
        require_match(policy, robot.spec)
        robot.reset(0)
        observation = robot.observe()
    results = []
    for job in jobs:

        def report(count: int, job: Job = job) -> None:
            on_rollouts(job, count)

        rollouts = roll_out_all(job, workers or os.cpu_count() or 1, report)
        engine = load_engine(job.policy, job.engine, job.sampler)
        latency_ms = measure_latency(engine, observation)
        results.append(summarise(job, rollouts, latency_ms))
    return {
        "task": first.task,
        "policy": first.policy,
        "seed": first.seeds[0],
        "versions": versions(),
        "results": results,
    }


def film_failures(evaluation: Mapping[str, Any], job: Job, out: Path, limit: int) -> Failures:
    """Roll failed episodes of an earlier evaluation out again, and film at most `limit` of them.

    Args:
        evaluation: Content of evaluation.json.
        job: Which policy and task, and the sampler whose result is meant, where there are several.
        out: Folder of the videos.
        limit: Most videos.
    """
    results = evaluation["results"]
    result = results[0]
    for candidate in results:
        if _is_of(candidate["sampler"], job.sampler):
            result = candidate
            break
    sampler = dict(result["sampler"])
    sampler["times"] = tuple(sampler["times"])
    again = replace(
        job,
        sampler=Sampler(**sampler),
        seeds=tuple(rollout["seed"] for rollout in result["rollouts"]),
        delay=result["delay_ticks"],
        jitter=result["jitter_ticks"],
        recorded=result["recorded"],
        on_delay=result["on_delay"],
    )
    failed = [rollout["seed"] for rollout in result["rollouts"] if not rollout["success"]]
    return Failures(film(again, failed, out, limit), len(failed), len(again.seeds))


def _is_of(described: Mapping[str, Any], sampler: Sampler) -> bool:
    return described["step"] == sampler.step and tuple(described["times"]) == sampler.grid()


def read_evaluation(path: Path | str) -> dict[str, Any]:
    """Read an evaluation.json; FewstepError names the file where it is none."""
    with refusing(FewstepError, f"{path} is no evaluation.json", path):
        evaluation = read_json(path, FewstepError)
        if not evaluation["results"]:
            raise ValueError("it has no results")
        return evaluation
