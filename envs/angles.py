"""Angles that wrap."""

import math

import numpy as np


def shorter_way(difference: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return differences (A,), those of elements that are an `angle` (A,) the shorter way round, within -pi and pi."""
    return np.where(angle, (difference + math.pi) % (2 * math.pi) - math.pi, difference)
