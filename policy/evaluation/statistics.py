"""Intervals on what a number of episodes can tell, and how many episodes tell more."""

import math
from collections.abc import Sequence

import numpy as np

Numbers = Sequence[float] | np.ndarray
Difference = tuple[float, float, float]  # a difference a - b with its 95 % interval

Z = 1.959963984540054  # 97.5 % of the normal distribution
MOST_FREEDOM = 10_000  # beyond which Student's t is taken for the normal distribution
Z_POWER = 0.8416212335729143  # 80 % of the normal distribution


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """Return the 95 % interval of a success rate (Wilson 1927); no episodes leave it open."""
    if episodes == 0:
        return 0.0, 1.0
    n = episodes
    p = successes / n
    shrink = 1 + Z**2 / n
    centre = (p + Z**2 / (2 * n)) / shrink
    half = Z / shrink * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    # Rounding would leave p = 0 or 1 outside.
    low = min(p, max(0.0, centre - half))
    high = max(p, min(1.0, centre + half))
    return low, high


def mean_interval(values: Numbers) -> tuple[float, float]:
    """Return the 95 % interval of a mean, from the normal approximation.

    It ends at the smallest and the largest value seen, so that it never leaves what is possible; it
    is infinite where no two values differ.
    """
    sample = np.asarray(values, float)
    mean = float(sample.mean())
    half = _half_width(sample)
    if not math.isfinite(half):
        return -math.inf, math.inf
    low = max(mean - half, float(sample.min()))
    high = min(mean + half, float(sample.max()))
    return low, high


def paired_success(a: Sequence[bool], b: Sequence[bool]) -> Difference:
    """Return the difference a - b of success rates on the same starts (Bonett and Price 2012)."""
    ours, theirs = np.asarray(a, bool), np.asarray(b, bool)
    won, lost = _discordant(ours, theirs)
    half = Z * success_deviation(a, b) / math.sqrt(len(ours) + 2)
    low = max(-1.0, won - lost - half)
    high = min(1.0, won - lost + half)
    return float(ours.mean() - theirs.mean()), low, high


def paired_mean(a: Numbers, b: Numbers) -> Difference:
    """Return the mean difference a - b on the same starts.

    Its interval ends within the largest difference that the values seen on both sides allow. Where
    all pairs differ by the same, starts that differ otherwise are as rare as `wilson` says of none
    in so many.
    """
    ours, theirs = np.asarray(a, float), np.asarray(b, float)
    differences = ours - theirs
    mean = float(differences.mean())
    span = score_span(ours, theirs)
    half = _half_width(differences)
    if math.isfinite(half):
        return mean, max(mean - half, -span), min(mean + half, span)
    _, other = wilson(0, len(differences))
    middle = (1 - other) * mean
    return mean, middle - other * span, middle + other * span


def t_interval(values: Numbers) -> tuple[float, float]:
    """Return the 95 % interval of a mean of few values, from Student's t distribution.

    It is infinite where no two values differ.
    """
    sample = np.asarray(values, float)
    half = _half_width(sample)
    if not math.isfinite(half):
        return -math.inf, math.inf
    half *= t_quantile(len(sample) - 1) / Z
    mean = float(sample.mean())
    return mean - half, mean + half


def paired_t(a: Numbers, b: Numbers) -> Difference:
    """Return the mean difference a - b of few pairs, with the interval of `t_interval`."""
    differences = np.asarray(a, float) - np.asarray(b, float)
    return float(differences.mean()), *t_interval(differences)


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t with so many degrees of freedom, 1 or more.

    t = sqrt(freedom) tan(angle), and the distribution is a finite sum over powers of the cosine
    (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4), which is bisected.
    """
    if freedom > MOST_FREEDOM:
        return Z
    low = 0.0
    high = math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        if _share_within(angle, freedom) < 0.95:
            low = angle
        else:
            high = angle
    return math.sqrt(freedom) * math.tan(low)


def score_span(*samples: Numbers) -> float:
    """Return the difference between the largest and the smallest value of all samples."""
    every = np.concatenate([np.asarray(sample, float) for sample in samples])
    return float(every.max() - every.min())


def success_deviation(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Return the standard deviation of paired differences in success.

    One start won and one lost are added, as in `paired_success`, so that it is never zero.
    """
    won, lost = _discordant(np.asarray(a, bool), np.asarray(b, bool))
    return math.sqrt(won + lost - (won - lost) ** 2)


def score_deviation(a: Numbers, b: Numbers) -> float:
    """Return the standard deviation of paired differences in score, 0 where there is one pair."""
    differences = np.asarray(a, float) - np.asarray(b, float)
    return float(differences.std(ddof=1)) if len(differences) > 1 else 0.0


def episodes_to_tell(margin: float, deviation: float) -> int:
    """Return how many paired starts tell a difference of `margin` from none in 80 % of all cases.

    As many also show, where there is no difference, that less than `margin` is lost. After Chow,
    Shao and Wang, Sample Size Calculations in Clinical Research, 2008, the one-sample design:
    n = ((z_0.975 + z_0.8) deviation / margin)^2.

    Args:
        margin: The difference to tell, above 0.
        deviation: Standard deviation of the paired differences.
    """
    return math.ceil(((Z + Z_POWER) * deviation / margin) ** 2)


def judge(difference: Difference, margin: float) -> str:
    """Return what a difference a - b with its interval says about a.

    "better" or "worse" where the interval leaves no difference out, "no difference" where all of it
    lies within `margin`, otherwise "undecided".
    """
    _, low, high = difference
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    if -margin < low and high < margin:
        return "no difference"
    return "undecided"


def _half_width(sample: np.ndarray) -> float:
    if len(np.unique(sample)) < 2:
        return math.inf
    return float(Z * sample.std(ddof=1) / math.sqrt(len(sample)))


def _share_within(angle: float, freedom: int) -> float:
    """Return the probability that |t| is below sqrt(freedom) tan(angle)."""
    odd = freedom % 2
    square = math.cos(angle) ** 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for index in range(freedom // 2):
        total += term
        term *= (2 * index + 1 + odd) / (2 * index + 2 + odd) * square
    share = math.sin(angle) * total
    return 2 / math.pi * (angle + share) if odd else share


def _discordant(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Return the shares of starts won and lost, with one start more of each (Bonett and Price)."""
    pairs = len(ours) + 2
    won = ((ours & ~theirs).sum() + 1) / pairs
    lost = ((~ours & theirs).sum() + 1) / pairs
    return float(won), float(lost)
