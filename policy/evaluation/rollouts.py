"""Evaluation: many seeded rollouts, advanced together, to a success rate with its interval."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...envs import ConfigError, Obs, Robot, RobotError, Step, run_episode
from ...envs.agent import Agent, Runner
from ...envs.control.telemetry import latencies
from ...envs.modules import restore_safe_path, safe_children
from ...envs.sim.registry import make_robot
from ..checkpoint import load_policy, require_match
from ..diffusion.samplers import Sampler
from ..engines.eager import EagerEngine
from ..policy import Policy
from ..serving.runners import DelayedRunner, InlineRunner, RequestBatch, make_agent
from ..training.threads import threads
from .smoothness import Smoothness
from .statistics import mean_interval, wilson

GROUP = 25  # episodes advanced together, and so the batch of every network evaluation
VALIDATION, TEST = range(0, 10_000), 100_000  # start seeds; in between lie those of demonstrations


@dataclass(frozen=True)
class Rollout:
    """How one rollout ended. score: largest reward; seam, jerk: see Smoothness; info: what the environment added."""

    seed: int
    success: bool
    score: float
    seconds: float
    info: dict[str, Any]
    seam: float | None = None
    jerk: float | None = None


@dataclass(frozen=True)
class Job:
    """What to roll out; small enough to send to a worker process."""

    policy: str
    task: str
    sampler: Sampler
    seeds: tuple[int, ...]
    delay: int = 0  # ticks between an observation and the chunk made from it
    jitter: float = 0.0  # at most so many more
    recorded: str = ""  # log of a run whose chunks' latencies are drawn from, in place of `delay`
    on_delay: str = ""  # what the Agent does meanwhile, one of runners.ON_DELAY; by default the best that the policy can
    hz: float | None = None
    seconds: float | None = None

    def groups(self) -> list[tuple[int, ...]]:
        """Seeds in groups of fixed size; a group's results depend on nothing outside it."""
        return [self.seeds[i : i + GROUP] for i in range(0, len(self.seeds), GROUP)]

    def robot(self, pictures: bool = False) -> Robot:
        """A fresh robot of the task."""
        return make_robot(self.task, hz=self.hz, seconds=self.seconds, pictures=pictures)

    def late_runner(self, runner: Runner, robot: Robot) -> DelayedRunner:
        """The same Runner with answers that are late, as the job says."""
        tick = 1 / robot.spec.command_hz
        seconds = latencies(self.recorded) if self.recorded else self.delay * tick
        return DelayedRunner(runner, seconds, robot.clock, self.jitter * tick)


def seed_range(first: int, episodes: int) -> tuple[int, ...]:
    """Start seeds first, first + 1, ...; ConfigError unless all are validation or all are test seeds."""
    seeds = range(first, first + episodes)
    if episodes < 1 or not (first >= TEST or (first in VALIDATION and seeds[-1] in VALIDATION)):
        raise ConfigError(
            f"seeds {first} to {first + episodes - 1} are neither validation seeds (0 to 9999) nor test seeds "
            f"({TEST} upwards); the seeds in between belong to demonstrations"
        )
    return tuple(seeds)


def roll_out_all(
    job: Job, workers: int = 1, progress: Callable[[int], None] = lambda n: None
) -> list[Rollout]:
    """Roll out every seed of a job; the result depends on the seeds, not on `workers`."""
    parts = job.groups()
    if (workers := min(workers, len(parts))) <= 1:
        return [e for part in parts for e in _tell(roll_out(job, part), progress)]
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        with safe_children() as before:  # all of them start here
            pool = ProcessPoolExecutor(workers, spawn, restore_safe_path, (before,))
            stack.enter_context(pool)
            done = pool.map(roll_out, [job] * len(parts), parts)
        return [e for part in done for e in _tell(part, progress)]


def _tell(part: list[Rollout], progress: Callable[[int], None]) -> list[Rollout]:
    progress(len(part))
    return part


@threads(1)
def roll_out(
    job: Job,
    seeds: Sequence[int],
    only: Sequence[int] | None = None,
    watch: Callable[[int, Robot, Step], None] | None = None,
) -> list[Rollout]:
    """Run a group of at most GROUP seeds together; `only` some of them, each still at its own place.

    watch: hears every step with its seed and robot, which then can draw pictures.
    """
    policy = load_policy(job.policy)
    engine = EagerEngine(policy, job.sampler)
    batch = RequestBatch(engine, GROUP)
    chosen = [(i, s) for i, s in enumerate(seeds) if only is None or s in only]
    with ExitStack() as stack:
        robots = {
            s: stack.enter_context(closing(job.robot(pictures=watch is not None)))
            for _, s in chosen
        }
        runs: dict[int, tuple[Iterator[Step | None], Agent]] = {}
        smooth = {s: Smoothness(policy) for _, s in chosen}
        for i, seed in chosen:
            robot = robots[seed]
            require_match(policy, robot.spec)
            runner = job.late_runner(batch.place(i), robot)
            actor = make_agent(engine, runner, job.on_delay)
            runs[seed] = run_episode(robot, actor, seed=seed, max_seconds=float("inf")), actor
        while runs:
            for seed, (run, actor) in list(runs.items()):
                for step in run:
                    if step is None:
                        break  # it waits for an answer
                    smooth[seed].hear(step, actor.chunk)
                    if watch is not None:
                        watch(seed, robots[seed], step)
                else:
                    del runs[seed]
            batch.flush()
        return [_ended(s, robots[s], smooth[s]) for _, s in chosen]


def _ended(seed: int, robot: Any, smooth: Smoothness) -> Rollout:
    outcome = robot.outcome()
    if outcome is None or outcome.success is None:
        raise RobotError(
            f"{robot.name} ended without info['is_success'] or info['success']: nothing to count"
        )
    plain = {k: v for k, v in robot.info.items() if isinstance(v, str | bool | int | float)}
    return Rollout(seed, outcome.success, outcome.score, robot.elapsed, plain, **smooth.result())


@threads(1)
def latency(policy: Policy, sampler: Sampler, obs: Obs, calls: int = 50) -> dict[str, float]:
    """Wall time of one `act` for one observation on this machine [ms]: p50, p99, max; one thread, after warm-up."""
    engine = EagerEngine(policy, sampler)
    times = []
    for i in range(calls + 5):
        actor = make_agent(engine, InlineRunner(engine))
        actor.reset(i)
        began = time.perf_counter()
        actor.act(obs)
        times.append(1e3 * (time.perf_counter() - began))
    kept = np.array(times[5:])
    return {
        "p50": float(np.median(kept)),
        "p99": float(np.percentile(kept, 99)),
        "max": float(kept.max()),
    }


def summary(job: Job, episodes: list[Rollout], latency_ms: dict[str, float]) -> dict[str, Any]:
    """One row of evaluation.json."""
    wins, scores = sum(e.success for e in episodes), [e.score for e in episodes]
    return {
        "network_evaluations": job.sampler.cost,
        "sampler": asdict(job.sampler) | {"times": list(job.sampler.grid())},
        "episodes": len(episodes),
        "successes": wins,
        "success_rate": wins / len(episodes),
        "interval": list(wilson(wins, len(episodes))),
        "mean_max_reward": float(np.mean(scores)),
        "mean_max_reward_interval": [
            x if math.isfinite(x) else None for x in mean_interval(scores)
        ],
        "latency_ms": latency_ms,
        "delay_ticks": job.delay,
        "jitter_ticks": job.jitter,
        "recorded": job.recorded,
        "on_delay": job.on_delay,
        "seam": _mean([e.seam for e in episodes]),
        "jerk": _mean([e.jerk for e in episodes]),
        "rollouts": [asdict(e) for e in episodes],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of what is a number; None where nothing is."""
    kept = [v for v in values if v is not None]
    return float(np.mean(kept)) if kept else None


def film(job: Job, seeds: Sequence[int], out: Path, limit: int) -> list[Path]:
    """Videos of the first `limit` of `seeds`, rolled out exactly as in the evaluation of the whole job."""
    import imageio.v3 as iio

    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for e, frames in pictures(job, seeds, limit):
        paths.append(out / f"{'success' if e.success else 'failure'}-{e.seed}.mp4")
        iio.imwrite(paths[-1], frames, fps=round(len(frames) / e.seconds))
    return paths


def pictures(job: Job, seeds: Sequence[int], limit: int) -> Iterator[tuple[Rollout, np.ndarray]]:
    """The first `limit` of `seeds` again, each with its frames (T, height, width, 3)."""
    left = limit
    for group in job.groups():
        wanted = [s for s in seeds if s in group][:left]
        left -= len(wanted)
        frames: dict[int, list[np.ndarray]] = {s: [] for s in wanted}
        if wanted:

            def film(seed: int, robot: Any, step: Step, frames: Any = frames) -> None:
                frames[seed].append(robot.render())

            ended = roll_out(job, group, wanted, film)
            yield from ((e, np.stack(frames[e.seed])) for e in ended)
