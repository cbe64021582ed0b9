"""Several trainings as one engine: a random one of them answers each request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...envs import CheckpointError, Spec
from .engine import ChunkShape, Engine


class Ensemble:
    """An Engine over trainings of one recipe, of which a request's noise chooses one.

    It costs what one of them costs, and where one comes to a stand another goes on. Raises
    CheckpointError where they are asked differently.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = list(engines)
        first = self._engines[0]
        for other in self._engines[1:]:
            if (other.spec, other.shape, other.sampler) != (first.spec, first.shape, first.sampler):
                raise CheckpointError(
                    "the trainings of this policy observe, command or draw differently: make the "
                    "ensemble anew"
                )
        self.name = first.name
        self.batches = any(engine.batches for engine in self._engines)

    @property
    def spec(self) -> Spec:
        """Return what each of them observes and commands."""
        return self._engines[0].spec

    @property
    def shape(self) -> ChunkShape:
        """Return what each of them is asked with, and what comes back."""
        return self._engines[0].shape

    @property
    def sampler(self) -> Mapping[str, Any]:
        """Return how each of them draws a chunk."""
        return self._engines[0].sampler

    def predict(
        self,
        obs: Mapping[str, np.ndarray],
        noise: np.ndarray,
        prefix: np.ndarray | None = None,
        prefix_length: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return chunks (B, H, A) in robot units, as `Engine.predict` says."""
        chosen = choose(noise, len(self._engines))
        chunks = np.empty((len(chosen), self.shape.horizon, self.spec.action_size), np.float32)
        for number, engine in enumerate(self._engines):
            rows = np.flatnonzero(chosen == number)
            if not len(rows):
                continue
            seen = {key: obs[key][rows] for key in self.spec.observations}
            chunks[rows] = engine.predict(
                seen,
                noise[:, rows],
                None if prefix is None else prefix[rows],
                None if prefix_length is None else prefix_length[rows],
            )
        return chunks

    def look(self, obs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what the first of them sees, which is the one that a monitor knows."""
        return self._engines[0].look(obs)


def choose(noise: np.ndarray, count: int) -> np.ndarray:
    """Return which of `count` answers each request (B,), by the lowest bits of its noise."""
    bits = np.ascontiguousarray(noise[0, :, 0, 0], np.float32).view(np.uint32)
    return bits % count
