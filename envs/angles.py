"""Angles that wrap."""

import math

import numpy as np


def shorter_way(difference: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return differences (A,), those of angles the shorter way round, within -pi and pi.

    angle (A,): which elements are angles.
    """
    return np.where(angle, (difference + math.pi) % (2 * math.pi) - math.pi, difference)
