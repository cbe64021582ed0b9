"""Rollouts: many seeded episodes that a policy plays, advanced together."""

from __future__ import annotations

import gc
import math
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from ...envs import Robot, RobotError, Step, run_episode
from ...envs.agent import Runner
from ...envs.modules import begin_child, safe_children
from ..checkpoint import load_policy, require_match
from ..engines.remote import is_address
from ..serving.runners import OnAnswered, RequestBatch, ignore_answers, make_agent
from ..training.processor import torch_threads
from .job import GROUP, Job, Rollout
from .memory import MemoryBudget
from .smoothness import EncodeActions, Smoothness

StepListener = Callable[[int, Robot, Step], None]  # a seed, its robot, a step


def roll_out_all(
    job: Job, workers: int = 1, on_finished: Callable[[int], None] = lambda count: None
) -> list[Rollout]:
    """Roll out every seed of a job; the result depends on the seeds, not on `workers`.

    on_finished: is given how many more episodes have ended.
    """
    groups = job.groups()
    workers = min(workers, len(groups))
    ended: list[Rollout] = []
    with ExitStack() as stack:
        if workers <= 1:
            loaded = LoadedPolicy(job)
            results = (roll_out_group(job, group, loaded=loaded) for group in groups)
        else:
            results = _roll_out_beside(job, groups, workers, stack)
        for rollouts in results:
            ended.extend(rollouts)
            on_finished(len(rollouts))
    return ended


def _roll_out_beside(
    job: Job, groups: Sequence[tuple[int, ...]], workers: int, stack: ExitStack
) -> Iterator[list[Rollout]]:
    """Return the rollouts of every group from worker processes, which end with the stack."""
    spawn = multiprocessing.get_context("spawn")
    with safe_children() as before:  # all of them start with the first call
        pool = ProcessPoolExecutor(workers, spawn, begin_child, (before,))
        stack.enter_context(pool)
        return pool.map(partial(_roll_out_in_worker, job, workers), groups)


class LoadedPolicy:
    """A job's policy, ready to act."""

    def __init__(self, job: Job) -> None:
        self.engine = job.load_engine()
        self.encode_actions: EncodeActions | None = None
        if not is_address(job.policy):  # a server tells no statistics
            self.encode_actions = load_policy(job.policy).normaliser.encode_actions


_of_worker: list[LoadedPolicy] = []  # of a worker process, which lives for one job alone


def _roll_out_in_worker(job: Job, workers: int, seeds: Sequence[int]) -> list[Rollout]:
    if not _of_worker:
        _of_worker.append(LoadedPolicy(job))
    return roll_out_group(job, seeds, workers=workers, loaded=_of_worker[0])


@torch_threads(1)
def roll_out_group(
    job: Job,
    seeds: Sequence[int],
    only: Sequence[int] | None = None,
    on_step: StepListener | None = None,
    *,
    workers: int = 1,
    loaded: LoadedPolicy | None = None,
    on_answered: OnAnswered = ignore_answers,
) -> list[Rollout]:
    """Roll a group of at most GROUP seeds out, as many together as the memory allows.

    only: some of the seeds, each still at its own place in the batch. on_step: is given every step
    with its seed and its robot, which then can render. workers: processes that do the same.
    loaded: of the job, by default loaded anew. on_answered: is given the places of seeds that have
    asked, with their requests and their chunks.
    """
    gc.collect()  # simulations of the group before: tens of MB each, some held by themselves alone
    loaded = loaded or LoadedPolicy(job)
    batch = RequestBatch(loaded.engine, GROUP, on_answered)
    budget = MemoryBudget(workers)
    waiting: deque[tuple[int, int]] = deque()
    for place, seed in enumerate(seeds):
        if only is None or seed in only:
            waiting.append((place, seed))
    running: list[_Episode] = []
    ended: dict[int, Rollout] = {}

    def advance(episode: _Episode) -> None:
        if episode.advance():
            return
        ended[episode.seed] = episode.result()
        running.remove(episode)
        episode.close()

    try:
        while waiting or running:
            while waiting and budget.allows(len(running) + 1):
                place, seed = waiting.popleft()
                with budget.opening():
                    episode = _Episode(job, loaded, batch.place(place), seed, on_step)
                    running.append(episode)
                    advance(episode)
            batch.flush()
            for episode in list(running):
                advance(episode)
    finally:
        for episode in running:
            episode.close()
    return [ended[seed] for seed in seeds if seed in ended]


class _Episode:
    """One episode of a group, with an environment of its own."""

    def __init__(
        self,
        job: Job,
        loaded: LoadedPolicy,
        runner: Runner,
        seed: int,
        on_step: StepListener | None,
    ) -> None:
        self.seed = seed
        self._on_step = on_step
        self._robot: Any = job.make_robot(pictures=on_step is not None)
        try:
            require_match(loaded.engine, self._robot.spec)
            delayed = job.delay_runner(runner, self._robot)
            self._agent = make_agent(loaded.engine, delayed, job.on_delay)
        except BaseException:
            self.close()
            raise
        self._smoothness = Smoothness(loaded.engine.spec, loaded.encode_actions)
        self._steps = run_episode(self._robot, self._agent, seed=seed, max_seconds=math.inf)

    def advance(self) -> bool:
        """Go on until an answer is missing, and return True; False once the episode is over."""
        for step in self._steps:
            if step is None:
                return True
            self._smoothness.add(step, self._agent.chunk)
            if self._on_step is not None:
                self._on_step(self.seed, self._robot, step)
        return False

    def result(self) -> Rollout:
        """Return how the episode ended; RobotError where there is nothing to count."""
        outcome = self._robot.outcome()
        if outcome.success is None and not math.isfinite(outcome.score):
            raise RobotError(
                f"{self._robot.name} ended without info['is_success'] or info['success'],"
                " and no reward was a number: nothing to count"
            )
        info: dict[str, Any] = {}
        for key, value in self._robot.info.items():
            if isinstance(value, str | bool | int | float):
                info[key] = value
        return Rollout(
            self.seed,
            outcome.success,
            outcome.score,
            self._robot.elapsed,
            info,
            **self._smoothness.result(),
        )

    def close(self) -> None:
        """Close the environment."""
        self._robot.close()
