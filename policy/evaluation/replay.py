"""An evaluation read again, and the episodes that failed in it filmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...envs import ConfigError, FewstepError
from ...envs.errors import refusing
from ...envs.tables import read_json
from ..diffusion.samplers import Sampler
from .films import film
from .job import Job
from .same_starts import is_seeded, require_comparable, unseeded


@dataclass(frozen=True)
class Failures:
    """What was seen of the failures of an evaluation."""

    videos: list[Path]
    failed: int  # episodes that had failed
    episodes: int  # of the evaluation


def read_evaluation(path: Path | str) -> dict[str, Any]:
    """Read an evaluation.json; FewstepError names the file where it is none."""
    with refusing(FewstepError, f"{path} is no evaluation.json", path):
        evaluation = read_json(path, FewstepError)
        if not evaluation["results"]:
            raise ValueError("it has no results")
        return evaluation


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
    if not is_seeded(job):
        raise unseeded(job, "replay")
    result = _find_result(evaluation, job.sampler)
    if result["success_rate"] is None:
        raise ConfigError("the environment did not say which episodes failed")
    seeds: list[int] = []
    failed: list[int] = []
    for rollout in result["rollouts"]:
        seeds.append(rollout["seed"])
        if not rollout["success"]:
            failed.append(rollout["seed"])
    sampler = Sampler(**result["sampler"] | {"times": tuple(result["sampler"]["times"])})
    whole = replace(
        job,
        sampler=sampler,
        seeds=tuple(seeds),
        delay=result["delay_ticks"],
        jitter=result["jitter_ticks"],
        recorded=result["recorded"],
        on_delay=result["on_delay"],
    )
    return Failures(film(whole, failed, out, limit), len(failed), len(seeds))


def _find_result(evaluation: Mapping[str, Any], sampler: Sampler) -> Mapping[str, Any]:
    """Return the first result that was drawn as `sampler` draws, or else the first of all."""
    for result in evaluation["results"]:
        drawn = result["sampler"]
        if drawn["step"] == sampler.step and tuple(drawn["times"]) == sampler.grid():
            return result
    return evaluation["results"][0]
