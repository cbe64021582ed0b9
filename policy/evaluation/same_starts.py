"""Whether two evaluations ran the same episodes: the same starts of the same task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...envs import ConfigError
from ...envs.sim.seeding import ignores_seed
from .job import Job


def task_facts(job: Job) -> dict[str, Any]:
    """Return what an episode depends on apart from the policy, its seed and lateness."""
    return {
        "task": job.task,
        "options": dict(job.options),
        "hz": job.hz,
        "seconds": job.seconds,
    }


def is_seeded(job: Job) -> bool:
    """Return whether the seed decides how an episode of the job's task starts."""
    return not ignores_seed(job.make_robot, job.seeds[0])


def unseeded(job: Job, what: str) -> ConfigError:
    """Return the error for what needs the same starts again, where the job's task has none."""
    return ConfigError(
        f"{what} needs the same starts again, but task {job.task!r} ignores its seed: two fresh"
        f" environments that were reset with seed {job.seeds[0]} start differently"
    )


def require_comparable(job: Job, evaluation: Mapping[str, Any], what: str) -> None:
    """Raise ConfigError where the episodes of a job are not those of an earlier evaluation.

    what: the earlier one, as the error names it.
    """
    for key, value in task_facts(job).items():
        earlier = evaluation.get(key, value)
        if earlier != value:
            raise ConfigError(f"{what} ran with {key}={earlier}, this one with {key}={value}")
    if not evaluation.get("seeded", True):
        raise ConfigError(f"{what} ran on starts that its seeds did not decide")


def require_same_seeds(job: Job, evaluation: Mapping[str, Any]) -> None:
    """Raise ConfigError where an earlier evaluation ran on other start seeds."""
    for result in evaluation["results"]:
        seeds = {rollout["seed"] for rollout in result["rollouts"]}
        if seeds != set(job.seeds):
            raise ConfigError("the two evaluations ran on different seeds: they cannot be paired")
