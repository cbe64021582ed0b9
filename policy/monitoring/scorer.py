"""Scoring chunks as they are made: is what was seen unknown, and how much has a plan changed?"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ...envs.agent import Request, stack_observations
from ...envs.angles import shorter_way
from ...envs.chunk import Chunk
from ..engines.engine import Engine
from .monitor import SCORES, Monitor


class Scorer:
    """Scores the chunks of an engine, of several episodes at a time.

    The observation's score is that of a `Distillation` of what the policy makes of it. The
    disagreement is the distance of a chunk from the one before it, where both have actions, as a
    share of the deviation of demonstrated actions.
    """

    def __init__(self, engine: Engine, monitor: Monitor) -> None:
        self._engine = engine
        self._monitor = monitor
        self._before: dict[Hashable, Chunk] = {}  # the newest chunk of each episode

    def score(
        self, episodes: Sequence[Hashable], requests: Sequence[Request], chunks: Sequence[Chunk]
    ) -> np.ndarray:
        """Return scores (B, 2), in the order of SCORES, of chunks and what they were made of."""
        spec = self._engine.spec
        looked = self._engine.look(stack_observations(spec, requests))
        scores = np.empty((len(chunks), len(SCORES)))
        embedded = self._monitor.embedding.embed(spec, looked)
        scores[:, 0] = self._monitor.distillation.score(embedded)
        for row, request in enumerate(requests):
            promised = len(request.prefix)
            scores[row, 1] = self._disagreement(episodes[row], promised, chunks[row])
        return scores

    def _disagreement(self, episode: Hashable, promised: int, chunk: Chunk) -> float:
        """Return the distance from the chunk before it; the first `promised` actions are its."""
        before = self._before.get(episode)
        self._before[episode] = chunk
        if before is None:
            return 0.0
        age = round((chunk.time - before.time) / chunk.dt)
        old, new = before.actions[age + promised :], chunk.actions[promised:]
        if not len(old):
            return 0.0
        turned = shorter_way(new[: len(old)] - old, self._engine.spec.angle_mask())
        return float(np.sqrt(np.square(turned / self._monitor.action_scale).mean()))


class ChunkMonitor:
    """Scores the chunks of one episode after the other, and says so in plain data."""

    def __init__(self, engine: Engine, monitor: Monitor) -> None:
        self._engine = engine
        self._monitor = monitor
        self._episode = -1

    def score(self, request: Request, chunk: Chunk) -> dict[str, Any]:
        """Return the scores of a chunk, their shares of the thresholds, and the largest share.

        The last two are None where there is no threshold yet.
        """
        if chunk.episode != self._episode:
            self._episode = chunk.episode
            self._scorer = Scorer(self._engine, self._monitor)
        scores = self._scorer.score([0], [request], [chunk])[0]
        told: dict[str, Any] = {"time": chunk.time}
        told |= dict(zip(SCORES, scores.tolist(), strict=True))
        calibration = self._monitor.calibration
        shares = calibration.shares(scores).tolist() if calibration else None
        told["shares"] = shares and dict(zip(SCORES, shares, strict=True))
        told["score"] = shares and max(shares)
        return told
