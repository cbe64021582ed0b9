"""What many rollouts say together: one row of evaluation.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from .job import Job, Rollout
from .statistics import mean_interval, wilson


def summarise(
    job: Job, rollouts: Sequence[Rollout], latency_ms: Mapping[str, float]
) -> dict[str, Any]:
    """Return one row of evaluation.json; what is not known is None.

    Success is None where not all environments say so; the score then stands for it. latency_ms: as
    of `measure_latency`.
    """
    scores = [rollout.score for rollout in rollouts]
    return {
        "network_evaluations": job.sampler.cost,
        "engine": job.engine,
        "sampler": asdict(job.sampler) | {"times": list(job.sampler.grid())},
        "episodes": len(rollouts),
        **_count_successes(rollouts),
        **_average_scores(scores),
        "latency_ms": dict(latency_ms),
        "delay_ticks": job.delay,
        "jitter_ticks": job.jitter,
        "recorded": job.recorded,
        "on_delay": job.on_delay,
        "seam": _mean([rollout.seam for rollout in rollouts]),
        "jerk": _mean([rollout.jerk for rollout in rollouts]),
        "rollouts": [_to_plain(rollout) for rollout in rollouts],
    }


def _average_scores(scores: Sequence[float]) -> dict[str, Any]:
    if not np.isfinite(scores).all():
        return {"mean_max_reward": None, "mean_max_reward_interval": [None, None]}
    return {
        "mean_max_reward": float(np.mean(scores)),
        "mean_max_reward_interval": [_finite(end) for end in mean_interval(scores)],
    }


def _count_successes(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    judged = [rollout.success for rollout in rollouts if rollout.success is not None]
    if len(judged) < len(rollouts):
        return {"successes": None, "success_rate": None, "interval": None}
    successes = sum(judged)
    return {
        "successes": successes,
        "success_rate": successes / len(judged),
        "interval": list(wilson(successes, len(judged))),
    }


def _to_plain(rollout: Rollout) -> dict[str, Any]:
    """Return a rollout for JSON, which has neither NaN nor infinity."""
    plain = asdict(rollout)
    plain["score"] = _finite(rollout.score)
    for key, value in rollout.info.items():
        if isinstance(value, float):
            plain["info"][key] = _finite(value)
    return plain


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the numbers among the values; None where there is none."""
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
