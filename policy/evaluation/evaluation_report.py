"""The report of an evaluation of any task: facts, one episode's actions, and videos."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...envs import RobotError
from ..checkpoint import load_policy
from ..policy import Policy
from ..policy_folder import find_policy
from ..training.log import LOG
from .comparison import Result, is_paired
from .films import film
from .job import Job
from .plan import play_episode
from .report import collect_facts, write_report


def report_evaluation(
    path: Path,
    jobs: Sequence[Job],
    evaluation: Mapping[str, Any],
    command: str = "",
    log: Callable[[str], None] = lambda text: None,
) -> None:
    """Write report.html of an evaluation, with videos where the task renders.

    The videos, one success and one failure, are kept beside the page too.

    Args:
        path: Of the page.
        jobs: What was evaluated.
        evaluation: What came of it, the content of evaluation.json.
        command: That does it again.
        log: Is told what had to be left out.
    """
    policy = load_policy(jobs[0].policy)
    index = _find_own(jobs, policy)
    job = jobs[index]
    write_report(
        path,
        title=job.task,
        evaluation=evaluation,
        control_period_ms=1e3 / policy.spec.command_hz,
        facts=collect_facts(policy, evaluation, command),
        log=_read_log(job.policy),
        played=play_episode(policy, job, job.seeds[0]),
        videos=_film_examples(job, evaluation, evaluation["results"][index], path.parent, log),
        own=job.sampler.cost,
    )


def _find_own(jobs: Sequence[Job], policy: Policy) -> int:
    """Return which job draws as the policy does by itself, the first where none does."""
    own = policy.config.drawn_by
    for index, job in enumerate(jobs):
        if (job.sampler.step, job.sampler.grid()) == (own.step, own.grid()):
            return index
    return 0


def _read_log(policy: str) -> list[dict[str, float]]:
    path = find_policy(policy) / LOG
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _film_examples(
    job: Job,
    evaluation: Mapping[str, Any],
    result: Result,
    out: Path,
    log: Callable[[str], None],
) -> list[Path]:
    """Film the first success and the first failure; nothing where the task cannot be filmed."""
    if not is_paired(evaluation):
        log("no video: the task ignores its seed, so that no episode can be played again")
        return []
    first: dict[bool | None, int] = {}
    for rollout in result["rollouts"]:
        first.setdefault(rollout["success"], rollout["seed"])
    try:
        return film(job, list(first.values()), out, 2)
    except RobotError as error:
        log(f"no video: {error}")
        return []
