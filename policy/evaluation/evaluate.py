"""Evaluations: jobs rolled out, summed up, and measured."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from ...envs.versions import versions
from ..checkpoint import require_match
from .job import Job
from .latency import measure_latency
from .rollouts import roll_out_all
from .same_starts import is_seeded, task_facts, unseeded
from .summary import summarise

OnRollouts = Callable[[Job, int], None]  # a job, and how many more of its rollouts are done


def evaluate(
    jobs: Sequence[Job],
    *,
    workers: int = 0,
    paired_by: str = "",
    on_rollouts: OnRollouts = lambda job, count: None,
) -> dict[str, Any]:
    """Roll out every job and measure its latency; return the content of evaluation.json.

    Raises ConfigError where the rollouts shall be paired and the task ignores its seed.

    Args:
        jobs: Of one policy and one task.
        workers: Processes, 0 for one per core; they change nothing but the time.
        paired_by: What will pair the rollouts by their seeds, as the error names it.
        on_rollouts: Is given every job, and how many more of its rollouts are done.
    """
    first = jobs[0]
    seeded = is_seeded(first)
    if paired_by and not seeded:
        raise unseeded(first, paired_by)
    engine = first.load_engine()
    with closing(first.make_robot()) as robot:
        require_match(engine, robot.spec)
        robot.reset(0)
        observation = robot.observe()
    results: list[dict[str, Any]] = []
    for job in jobs:

        def report(count: int, job: Job = job) -> None:
            on_rollouts(job, count)

        rollouts = roll_out_all(job, workers or os.cpu_count() or 1, report)
        engine = job.load_engine()
        latency_ms = measure_latency(engine, observation)
        results.append(summarise(job, rollouts, latency_ms))
    return {
        **task_facts(first),
        "policy": first.policy,
        "seed": first.seeds[0],
        "seeded": seeded,
        "versions": versions(),
        "results": results,
    }
