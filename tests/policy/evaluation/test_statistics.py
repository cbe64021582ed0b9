import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewstep.policy.evaluation.statistics import (
    episodes_to_tell,
    judge,
    mean_interval,
    paired_mean,
    paired_success,
    paired_t,
    t_interval,
    t_quantile,
    wilson,
)

counts = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
outcomes = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@pytest.mark.parametrize(
    "successes, episodes, low, high",
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_intervals_of_newcombe_1998(
    successes: int, episodes: int, low: float, high: float
) -> None:
    assert wilson(successes, episodes) == pytest.approx((low, high), abs=5e-5)


@given(counts)
def test_wilson_solves_its_own_equation(count: tuple[int, int]) -> None:
    k, n = count
    for bound in wilson(k, n):
        if 0 < bound < 1:
            assert abs(k / n - bound) == pytest.approx(
                1.959964 * math.sqrt(bound * (1 - bound) / n), abs=1e-6
            )


@given(counts)
def test_wilson_holds_the_rate_and_mirrors_failures(count: tuple[int, int]) -> None:
    k, n = count
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1 and low < high
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low))


def test_no_episodes_say_nothing() -> None:
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.97])
def test_wilson_covers_the_true_rate_as_often_as_it_says(rate: float) -> None:
    wins = np.random.default_rng(0).binomial(50, rate, 4000)
    hits = [low <= rate <= high for low, high in (wilson(int(k), 50) for k in wins)]
    assert 0.92 < np.mean(hits) < 0.99


def test_mean_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    samples = np.random.default_rng(0).normal(3, 2, (3000, 50))
    hits = [low <= 3 <= high for low, high in map(mean_interval, samples)]
    assert 0.93 < np.mean(hits) < 0.96


def test_mean_interval_by_hand() -> None:
    low, high = mean_interval([1, 2, 3, 4])
    assert (low + high) / 2 == 2.5
    assert (high - low) / 2 == pytest.approx(1.959964 * math.sqrt(5 / 3) / 2)
    assert mean_interval([7]) == (-math.inf, math.inf)


@given(outcomes)
def test_a_paired_difference_lies_within_its_interval_and_mirrors(
    pairs: list[tuple[bool, bool]],
) -> None:
    a, b = zip(*pairs, strict=True)
    difference, low, high = paired_success(a, b)
    assert difference == pytest.approx(np.mean(a) - np.mean(b))
    assert -1 <= low <= difference <= high <= 1 and low < high
    assert paired_success(b, a) == pytest.approx((-difference, -high, -low))


@pytest.mark.parametrize("rates", [(0.9, 0.9), (0.7, 0.5), (0.95, 0.99)])
def test_a_paired_interval_covers_the_true_difference_as_often_as_it_says(
    rates: tuple[float, float],
) -> None:
    luck = np.random.default_rng(0).random(
        (3000, 60)
    )  # the seeds' own difficulty, which both sides share
    truth = rates[0] - rates[1]
    hits = []
    for row in luck:
        _, low, high = paired_success(row < rates[0], (row + 0.1) % 1 < rates[1])
        hits.append(low <= truth <= high)
    assert 0.93 < np.mean(hits) <= 1


def test_pairs_tell_more_than_two_rates() -> None:
    a = [True] * 80 + [False] * 20
    b = [True] * 70 + [False] * 30
    _, low, high = paired_success(a, b)
    assert low > 0  # a wins ten seeds and loses none
    assert wilson(80, 100)[0] < wilson(70, 100)[1]  # though the two rates alone could be equal
    assert high < 0.2


def test_paired_success_by_hand() -> None:
    difference, low, high = paired_success([True] * 8 + [False] * 2, [True] * 5 + [False] * 5)
    half = 1.959964 * math.sqrt(
        (4 / 12 + 1 / 12 - (3 / 12) ** 2) / 12
    )  # 3 won, 0 lost, and one more of each
    assert difference == pytest.approx(0.3)
    assert (low, high) == pytest.approx((3 / 12 - half, 3 / 12 + half))


def test_equal_outcomes_leave_a_difference_possible() -> None:
    difference, low, high = paired_success([True] * 30, [True] * 30)
    assert difference == 0 and low == -high < -0.05


def test_equal_differences_leave_others_possible() -> None:
    scores = [0.0, 1.0] * 15
    difference, low, high = paired_mean(scores, scores)
    assert difference == 0 and low == -high < -0.05
    assert paired_mean([3], [1])[1] < 0  # one pair shows nothing


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_intervals_of_scores_end_within_what_is_possible(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    low, high = mean_interval(ours)
    assert low == -math.inf or 0 <= low <= high <= 1
    _, low, high = paired_mean(ours, theirs)
    assert -1 <= low <= high <= 1


def test_nearly_perfect_scores_end_at_the_largest() -> None:
    low, high = mean_interval([1.0] * 99 + [0.9])
    assert low < 0.999 and high == 1


def test_paired_mean_by_hand() -> None:
    difference, low, high = paired_mean([3, 5, 9], [1, 4, 6])
    assert difference == 2
    assert (
        high - difference
        == pytest.approx(difference - low)
        == pytest.approx(1.959964 / math.sqrt(3))
    )


@pytest.mark.parametrize("compare", [paired_success, paired_mean])
def test_pairs_need_as_many_on_both_sides(compare) -> None:
    with pytest.raises(ValueError, match=r"shape|broadcast|length"):
        compare([True, False, True], [True, False])


# What a difference says


@pytest.mark.parametrize(
    "difference, verdict",
    [
        ((0.1, 0.02, 0.18), "better"),
        ((-0.1, -0.18, -0.02), "worse"),
        ((0.0, -0.04, 0.04), "no difference"),
        ((0.0, -0.09, 0.09), "undecided"),
        ((0.03, -0.01, 0.07), "undecided"),
    ],
)
def test_no_difference_is_said_only_of_a_narrow_interval(
    difference: tuple[float, float, float], verdict: str
) -> None:
    assert judge(difference, 0.05) == verdict


@pytest.mark.parametrize("rate, margin", [(0.7, 0.1), (0.9, 0.08)])
def test_so_many_episodes_tell_in_four_of_five_cases(rate: float, margin: float) -> None:
    """Both: a difference of the margin is shown, and without one it is shown that less is lost."""
    luck = np.random.default_rng(0)
    less = rate - margin
    deviation = math.sqrt(rate * (1 - rate) + less * (1 - less))
    episodes = episodes_to_tell(margin, deviation)
    shown = []
    for _ in range(600):
        a = luck.random(episodes) < rate
        b = luck.random(episodes) < less
        shown.append(paired_success(a, b)[1] > 0)
    assert 0.75 < np.mean(shown) < 0.87
    episodes = episodes_to_tell(margin, math.sqrt(2 * rate * (1 - rate)))
    excluded = []
    for _ in range(600):
        a = luck.random(episodes) < rate
        b = luck.random(episodes) < rate
        excluded.append(paired_success(a, b)[1] > -margin)
    assert 0.75 < np.mean(excluded) < 0.87


def test_two_hundred_episodes_of_a_task_at_seven_tenths_are_too_few_for_a_twentieth() -> None:
    needed = episodes_to_tell(0.05, math.sqrt(2 * 0.7 * 0.3))
    assert 1300 < needed < 1340


@pytest.mark.parametrize(
    "freedom, quantile",
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (8, 2.30600), (29, 2.04523), (120, 1.97993)],
)
def test_student_has_the_quantiles_of_the_tables(freedom: int, quantile: float) -> None:
    assert t_quantile(freedom) == pytest.approx(quantile, rel=1e-5)


def test_student_becomes_normal() -> None:
    assert t_quantile(10_000) == pytest.approx(1.959964, abs=5e-4)
    assert t_quantile(10**9) == pytest.approx(1.959964)


def test_few_values_have_wide_intervals() -> None:
    low, high = t_interval([1.0, 2.0])
    assert (low, high) == pytest.approx((1.5 - 12.7062 / 2, 1.5 + 12.7062 / 2), rel=1e-5)
    difference = paired_t([3.0, 5.0, 4.0], [1.0, 2.0, 3.0])
    half = 4.30265 / math.sqrt(3)
    assert difference == pytest.approx((2.0, 2.0 - half, 2.0 + half), rel=1e-5)


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0]])
def test_values_that_do_not_differ_leave_the_mean_open(values: list[float]) -> None:
    assert t_interval(values) == (-math.inf, math.inf)
