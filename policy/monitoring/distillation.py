"""Random network distillation: how unlike what was learnt from an observation is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

STUDENTS = 3  # one alone depends on its seed
DEEPEST = 10.0  # standard deviations beyond which nothing looks farther away


@dataclass(frozen=True)
class Distillation:
    """A random network, and students that have learnt what it says of known observations.

    Burda et al. 2018 (arXiv 1810.12894). mean, deviation: (F,) of the observations; random,
    students: layers, weight (in, out) and bias (out,) by turns, of the students (S, in, out) and
    (S, 1, out). Between layers stands a ReLU.
    """

    mean: np.ndarray
    deviation: np.ndarray
    random: tuple[np.ndarray, ...]
    students: tuple[np.ndarray, ...]

    def score(self, seen: np.ndarray) -> np.ndarray:
        """Return how far the students are off (B,) at observations (B, F): their mean square."""
        x = standardise(seen, self.mean, self.deviation)
        told = _run(self.random, x)
        guessed = _run(self.students, x)
        return np.square(guessed - told).mean((0, 2))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything by name, for a file."""
        named = {"mean": self.mean, "deviation": self.deviation}
        for group in ("random", "students"):
            for index, array in enumerate(getattr(self, group)):
                named[f"{group}_{index}"] = array
        return named

    @classmethod
    def of(cls, named: Mapping[str, np.ndarray]) -> Distillation:
        """Return what `arrays` has named."""
        groups = {}
        for group in ("random", "students"):
            count = sum(name.startswith(f"{group}_") for name in named)
            groups[group] = tuple(named[f"{group}_{index}"] for index in range(count))
        return cls(named["mean"], named["deviation"], **groups)


def standardise(seen: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return observations (B, F) in standard deviations, at most DEEPEST of them."""
    return np.clip((seen - mean) / deviation, -DEEPEST, DEEPEST).astype(np.float32)


def _run(layers: tuple[np.ndarray, ...], x: np.ndarray) -> np.ndarray:
    last = len(layers) // 2 - 1
    for index in range(last + 1):
        x = x @ layers[2 * index] + layers[2 * index + 1]
        if index < last:
            x = np.maximum(x, 0)
    return x
