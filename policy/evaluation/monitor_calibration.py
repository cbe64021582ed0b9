"""Making a monitor: fitted to demonstrations, calibrated on episodes of the policy itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...demos.store import DemoStore
from ...demos.windows import make_windows
from ...envs import ConfigError
from ...envs.agent import Request
from ...envs.chunk import Chunk
from ..checkpoint import load_policy, require_match
from ..engines.eager import EagerEngine
from ..engines.exported import hash_weights
from ..monitoring.fitting import LEAST_DEVIATION, copy_embedding, fit_distillation
from ..monitoring.monitor import Calibration, Monitor
from ..monitoring.scorer import Scorer
from ..training.dataset import map_arrays
from ..training.processor import torch_threads
from .job import Job, Rollout
from .prediction import BATCH, HistoryReader
from .rollouts import LoadedPolicy, roll_out_group

MOST_SEEN = 20_000  # observations that a distillation is fitted to, drawn where there are more
MOST_PICTURED = 4_000  # the same, where each has pictures
LEAST_EPISODES = 10  # that have succeeded, to calibrate with


@torch_threads(1)
def fit_monitor(policy: str, data: str, seed: int = 0) -> Monitor:
    """Return a monitor that knows the observations of demonstrations, and has no threshold yet.

    Raises CheckpointError where the demonstrations do not fit the policy.
    """
    loaded = load_policy(policy)
    engine = EagerEngine(loaded)
    store = DemoStore.open(data)
    store.require()
    require_match(loaded, store.spec, f"the demonstrations at {data}")
    arrays = map_arrays(store, [*loaded.spec.states, "action"])
    windows = make_windows(store.ends, engine.shape.observation_steps, engine.shape.horizon)
    most = MOST_PICTURED if loaded.spec.images else MOST_SEEN
    rows = np.random.default_rng(seed).permutation(len(windows))[:most]
    reader = HistoryReader(store, loaded.seen, arrays, engine.shape.pictures)
    embedding = copy_embedding(loaded)
    seen = []
    for first in range(0, len(rows), BATCH):
        obs = reader.read(windows.history(rows[first : first + BATCH]))
        seen.append(embedding.embed(loaded.spec, engine.look(obs)))
    scale = np.maximum(np.asarray(arrays["action"]).std(0), LEAST_DEVIATION)
    distillation = fit_distillation(np.concatenate(seen), seed)
    weights = hash_weights(policy)
    return Monitor(weights, embedding, distillation, scale.astype(np.float64))


@dataclass(frozen=True)
class Scored:
    """An episode and the scores of its chunks: times (C,) of their observations [s], (C, 2)."""

    rollout: Rollout
    times: np.ndarray
    scores: np.ndarray

    def worst(self) -> np.ndarray:
        """Return the largest of each score (2,)."""
        return self.scores.max(0)


class _Notes:
    """The scores of a group of episodes, as their chunks are made."""

    def __init__(self, scorer: Scorer, size: int) -> None:
        self._scorer = scorer
        self.times: list[list[float]] = [[] for _ in range(size)]
        self.scores: list[list[np.ndarray]] = [[] for _ in range(size)]

    def take(self, answered: list[tuple[int, Request, Chunk]]) -> None:
        """Score chunks."""
        places, requests, chunks = zip(*answered, strict=True)
        scores = self._scorer.score(places, requests, chunks)
        for place, request, row in zip(places, requests, scores, strict=True):
            self.times[place].append(request.time)
            self.scores[place].append(row)


def score_rollouts(
    job: Job, monitor: Monitor, on_finished: Callable[[int], None] = lambda count: None
) -> list[Scored]:
    """Roll out every seed of a job, and score every chunk.

    on_finished: is given how many more episodes have ended.
    """
    loaded = LoadedPolicy(job)
    scored: list[Scored] = []
    for group in job.groups():
        notes = _Notes(Scorer(loaded.engine, monitor), len(group))
        rollouts = roll_out_group(job, group, loaded=loaded, on_answered=notes.take)
        for place, rollout in enumerate(rollouts):
            times = np.array(notes.times[place])
            scored.append(Scored(rollout, times - times[0], np.stack(notes.scores[place])))
        on_finished(len(rollouts))
    return scored


def calibrate(
    monitor: Monitor, succeeded: Sequence[np.ndarray], alarms: float, source: str, seed: int = 0
) -> Monitor:
    """Return the monitor with scales and a threshold, by split conformal prediction.

    One half of the episodes gives the scales of the scores, the other the threshold of the largest
    in its scale: the next episode that succeeds exceeds it with probability `alarms` at most (Vovk
    et al. 2005, chapter 4), as long as it is like these.

    Args:
        monitor: What is calibrated.
        succeeded: The largest of each score (2,) in episodes that have succeeded.
        alarms: Share of good episodes in which an alarm is put up with.
        source: Where they were played, in words.
        seed: Of the split.

    Raises:
        ConfigError: Where there are too few episodes for such a share.
    """
    if not 0 < alarms < 1:
        raise ConfigError(f"alarms must lie between 0 and 1, not {alarms}")
    worst = np.stack(succeeded) if succeeded else np.empty((0, 2))
    order = np.random.default_rng(seed).permutation(len(worst))
    half = len(worst) // 2
    kept = len(worst) - half
    rank = math.ceil((kept + 1) * (1 - alarms))
    if len(worst) < LEAST_EPISODES or rank > kept:
        needed = max(LEAST_EPISODES, 2 * math.ceil(1 / alarms - 1) - 1)
        raise ConfigError(
            f"{len(worst)} episodes have succeeded, and alarms={alarms} needs at least {needed}"
        )
    scales = np.quantile(worst[order[:half]], 1 - alarms, axis=0)
    scales = np.maximum(scales, np.finfo(float).tiny)
    largest = np.sort((worst[order[half:]] / scales).max(1))
    calibration = Calibration(
        tuple(scales.tolist()), float(largest[rank - 1]), alarms, len(worst), source
    )
    return replace(monitor, calibration=calibration)
