"""Comparisons: paired by start, by success where it is known, and with a number where undecided."""

from typing import Any

import numpy as np
import pytest

from fewstep.envs import ConfigError
from fewstep.policy.evaluation.comparison import compare, describe


def result(successes: Any, scores: Any, first: int = 0) -> dict[str, Any]:
    rollouts = []
    for seed, (success, score) in enumerate(zip(successes, scores, strict=True), first):
        rollouts.append({"seed": seed, "success": success, "score": score})
    return {"rollouts": rollouts}


def judged(wins: int, episodes: int) -> dict[str, Any]:
    successes = [True] * wins + [False] * (episodes - wins)
    return result(successes, [float(success) for success in successes])


def test_an_evaluation_does_not_differ_from_itself_where_enough_ran() -> None:
    assert compare(judged(400, 500), judged(400, 500)).verdict == "no difference"
    assert compare(judged(8, 10), judged(8, 10)).verdict == "undecided"


def test_undecided_says_how_many_more_would_tell() -> None:
    luck = np.random.default_rng(0)
    ours = result((luck.random(200) < 0.7).tolist(), [0.0] * 200)
    theirs = result((luck.random(200) < 0.7).tolist(), [0.0] * 200)
    comparison = compare(ours, theirs)
    assert comparison.verdict == "undecided"
    assert 900 < comparison.more_episodes < 1300
    expected = f"undecided; {comparison.more_episodes} more episodes would tell 0.05"
    assert describe(comparison) == expected


def test_a_smaller_margin_takes_more_episodes() -> None:
    ours, theirs = judged(140, 200), judged(145, 200)
    assert compare(ours, theirs, 0.01).more_episodes > compare(ours, theirs, 0.02).more_episodes


def test_starts_are_paired_by_their_seed_not_by_their_place() -> None:
    ours = judged(3, 6)
    theirs = {"rollouts": ours["rollouts"][::-1]}
    difference = compare(ours, theirs).success
    assert difference is not None and difference[0] == 0


def test_other_starts_are_refused() -> None:
    with pytest.raises(ConfigError, match="different seeds"):
        compare(result([True], [1.0]), result([True], [1.0], first=5))


def test_scores_decide_where_success_is_not_known() -> None:
    luck = np.random.default_rng(0)
    scores = 100 * luck.random(200)
    unknown = [None] * 200
    ours = result(unknown, scores + 10)
    theirs = result(unknown, scores + luck.normal(size=200))
    better = compare(ours, theirs)
    assert better.success is None and better.verdict == "better"
    # the margin is a share of the span of the scores
    assert 5 < better.margin < 6
    assert compare(theirs, result(unknown, scores)).verdict == "no difference"


def test_neither_success_nor_score_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare(result([None], [None]), result([None], [None]))
