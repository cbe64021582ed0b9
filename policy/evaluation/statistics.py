"""Intervals on what a number of episodes can tell."""

import math
from collections.abc import Sequence

import numpy as np

Z = 1.959963984540054  # 97.5 % of the normal distribution


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """95 % interval of a success rate (Wilson 1927); no episodes leave it open."""
    if episodes == 0:
        return 0.0, 1.0
    p, n = successes / episodes, episodes
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return min(p, max(0.0, centre - half)), max(
        p, min(1.0, centre + half)
    )  # rounding would leave p = 0 or 1 outside


def mean_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """95 % interval of a mean, from the normal approximation; infinite where no two values differ."""
    x = np.asarray(values, float)
    half = Z * x.std(ddof=1) / math.sqrt(len(x)) if len(np.unique(x)) > 1 else math.inf
    return float(x.mean() - half), float(x.mean() + half)


def paired_success(a: Sequence[bool], b: Sequence[bool]) -> tuple[float, float, float]:
    """(difference a - b of success rates on the same seeds, 95 % low, high), after Bonett and Price 2012."""
    x, y = np.asarray(a, bool), np.asarray(b, bool)
    n = len(x) + 2
    won, lost = ((x & ~y).sum() + 1) / n, ((~x & y).sum() + 1) / n
    half = Z * math.sqrt((won + lost - (won - lost) ** 2) / n)
    return float(x.mean() - y.mean()), max(-1.0, won - lost - half), min(1.0, won - lost + half)


def paired_mean(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray
) -> tuple[float, float, float]:
    """(mean difference a - b on the same seeds, 95 % low, high)."""
    d = np.asarray(a, float) - np.asarray(b, float)
    return float(d.mean()), *mean_interval(d)
