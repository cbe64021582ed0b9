"""Several trainings as one engine: a random one of them answers each request."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...envs import CheckpointError, Spec
from .engine import ChunkShape, Engine


class Ensemble:
    """An Engine over trainings of one recipe, of which a request's noise chooses one.

    One request costs what one of them costs; of a batch an engine that computes it at once takes
    all, so that no answer depends on who else asks. Where one comes to a stand another goes on.
    Raises CheckpointError where they are asked differently.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = list(engines)
        first = self._engines[0]
        for other in self._engines[1:]:
            for part in ("spec", "shape", "sampler"):
                if getattr(other, part) != getattr(first, part):
                    raise CheckpointError(
                        f"the trainings of this policy differ in their {part}: "
                        f"{getattr(other, part)} where the first has {getattr(first, part)}; make "
                        "the ensemble anew"
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
            own = chosen == number
            if not own.any():
                continue
            asked = np.ones_like(own) if engine.batches else own
            seen = {key: obs[key][asked] for key in self.spec.observations}
            answers = engine.predict(
                seen,
                noise[:, asked],
                None if prefix is None else prefix[asked],
                None if prefix_length is None else prefix_length[asked],
            )
            chunks[own] = answers[own[asked]]
        return chunks

    def look(self, obs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return what the first of them sees, which is the one that a monitor knows."""
        return self._engines[0].look(obs)


def choose(noise: np.ndarray, count: int) -> np.ndarray:
    """Return which of `count` answers each request (B,), by a checksum of its noise."""
    sums = [zlib.crc32(np.float32(noise[:, row]).tobytes()) for row in range(noise.shape[1])]
    return np.array(sums) % count
