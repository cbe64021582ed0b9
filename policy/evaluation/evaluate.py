"""Evaluations: jobs rolled out, summed up, measured; and looking again at the rollouts that failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...envs import ConfigError, FewstepError
from ...envs.errors import refusing
from ...envs.sim.seeding import ignores_seed
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
    seeded = not ignores_seed(first.make_robot, first.seeds[0])
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
        "policy": first.policy,
        **_task_facts(first),
        "seed": first.seeds[0],
        "seeded": seeded,
        "versions": versions(),
        "results": results,
    }


def _task_facts(job: Job) -> dict[str, Any]:
    """Return what an episode depends on apart from the policy, its seed and lateness."""
    return {
        "task": job.task,
        "options": dict(job.options),
        "hz": job.hz,
        "seconds": job.seconds,
    }


def require_seeded(job: Job, what: str) -> None:
    """Raise ConfigError where a seed does not decide how an episode of the job's task starts.

    what: that needs the same starts again, as the error names it.
    """
    if ignores_seed(job.make_robot, job.seeds[0]):
        raise ConfigError(
            f"{what} needs the same starts again, but task {job.task!r} ignores its seed: two fresh"
            f" environments that were reset with seed {job.seeds[0]} start differently"
        )


def require_comparable(job: Job, evaluation: Mapping[str, Any], what: str) -> None:
    """Raise ConfigError where the episodes of a job are not those of an earlier evaluation.

    what: the earlier one, as the error names it.
    """
    for key, value in _task_facts(job).items():
        earlier = evaluation.get(key, value)
        if earlier != value:
            raise ConfigError(f"{what} ran with {key}={earlier}, this one with {key}={value}")
    if not evaluation.get("seeded", True):
        raise ConfigError(f"{what} ran on starts that its seeds did not decide")
    require_seeded(job, what)


def require_same_seeds(job: Job, evaluation: Mapping[str, Any]) -> None:
    """Raise ConfigError where an earlier evaluation ran on other start seeds."""
    for result in evaluation["results"]:
        seeds = {rollout["seed"] for rollout in result["rollouts"]}
        if seeds != set(job.seeds):
            raise ConfigError("the two evaluations ran on different seeds: they cannot be paired")


def film_failures(evaluation: Mapping[str, Any], job: Job, out: Path, limit: int) -> Failures:
    """Roll failed episodes of an earlier evaluation out again, and film at most `limit` of them.

    Raises ConfigError where they would be other episodes, or nothing says which ones failed.

    Args:
        evaluation: Content of evaluation.json.
        job: Which policy and task, and the sampler whose result is meant, where there are several.
        out: Folder of the videos.
        limit: Most videos.
    """
    require_comparable(job, evaluation, "replay")
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
    if result["success_rate"] is None:
        raise ConfigError("the environment did not say which episodes failed")
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
