"""Comparisons: two results on the same starts, and what the difference says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...envs import ConfigError
from .statistics import (
    Difference,
    episodes_to_tell,
    judge,
    paired_mean,
    paired_success,
    score_deviation,
    score_span,
    success_deviation,
)

MARGIN = 0.05  # a difference in success, or in the span of the scores, below which there is none
Result = Mapping[str, Any]  # one of evaluation["results"]


@dataclass(frozen=True)
class Comparison:
    """What the rollouts of one result say beside those of another, paired by start."""

    success: Difference | None  # None where an environment does not say what succeeded
    score: Difference | None  # None where an environment has no finite score
    verdict: str  # about the first: better, worse, no difference or undecided
    margin: float  # the difference that counts as none, in the units of what is judged
    more_episodes: int  # that would tell `margin` from none where it is undecided; 0: enough ran


def compare(ours: Result, theirs: Result, margin: float = MARGIN) -> Comparison:
    """Compare two results by success, or by score where success is not known.

    Args:
        ours: What is judged.
        theirs: What it is set beside, on the same starts.
        margin: Difference in success that counts as none; of scores this share of their span.

    Raises:
        ConfigError: They ran on different starts.
    """
    if not 0 < margin < 1:
        raise ConfigError(f"margin must lie between 0 and 1, not {margin}")
    starts = [rollout["seed"] for rollout in ours["rollouts"]]
    our_rollouts = _by_seed(ours)
    their_rollouts = _by_seed(theirs)
    if our_rollouts.keys() != their_rollouts.keys():
        raise ConfigError("the two evaluations ran on different seeds: they cannot be paired")
    our_scores = [our_rollouts[seed]["score"] for seed in starts]
    their_scores = [their_rollouts[seed]["score"] for seed in starts]
    score = None
    if None not in our_scores and None not in their_scores:
        score = paired_mean(our_scores, their_scores)
    our_successes = [our_rollouts[seed]["success"] for seed in starts]
    their_successes = [their_rollouts[seed]["success"] for seed in starts]
    if None not in our_successes and None not in their_successes:
        success = paired_success(our_successes, their_successes)
        deviation = success_deviation(our_successes, their_successes)
        return _judged(success, score, success, margin, deviation, len(starts))
    if score is None:
        raise ConfigError("the evaluations know neither success nor score: nothing to compare")
    margin *= score_span(our_scores, their_scores)
    deviation = score_deviation(our_scores, their_scores)
    return _judged(None, score, score, margin, deviation, len(starts))


def _judged(
    success: Difference | None,
    score: Difference | None,
    difference: Difference,
    margin: float,
    deviation: float,
    episodes: int,
) -> Comparison:
    verdict = judge(difference, margin)
    more = 0
    if verdict == "undecided" and margin > 0:
        more = max(0, episodes_to_tell(margin, deviation) - episodes)
    return Comparison(success, score, verdict, margin, more)


def is_paired(evaluation: Mapping[str, Any]) -> bool:
    """Return whether the starts of an evaluation follow their seeds, so that they can be paired."""
    return evaluation.get("seeded", True)


def reference_result(results: Sequence[Result]) -> Result:
    """Return the result that others are set beside: least delay, then most network evaluations."""

    def precedence(result: Result) -> tuple[float, float]:
        return result["delay_ticks"], -result["network_evaluations"]

    return min(results, key=precedence)


def label_results(results: Sequence[Result]) -> list[str]:
    """Return what tells results apart: evaluations, and sampler and delay where they vary."""
    steps = {result["sampler"]["step"] for result in results}
    delays = {result["delay_ticks"] for result in results}
    labels = []
    for result in results:
        notes = []
        if len(steps) > 1:
            notes.append(result["sampler"]["step"])
        if len(delays) > 1:
            notes.append(f"{result['delay_ticks']} ticks late")
        note = f" ({', '.join(notes)})" if notes else ""
        labels.append(f"{result['network_evaluations']}{note}")
    return labels


def describe(comparison: Comparison) -> str:
    """Return the verdict in words, with how many more episodes would tell."""
    if comparison.verdict == "undecided" and comparison.more_episodes:
        more = comparison.more_episodes
        return f"undecided; {more} more episodes would tell {comparison.margin:.3g}"
    return comparison.verdict


def _by_seed(result: Result) -> dict[int, Mapping[str, Any]]:
    return {rollout["seed"]: rollout for rollout in result["rollouts"]}
