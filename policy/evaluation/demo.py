"""The whole path on the built-in task: record, train, tune, test, report."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...demos.episode import Episode
from ...demos.recording.experts import record_expert
from ...demos.store import DemoStore
from ...envs import ConfigError, Outcome
from ...envs.atomic_files import write_file
from ...envs.errors import names
from ...envs.seeds import FIRST_TEST_SEED, evaluation_seeds
from ...envs.sim.registry import TASKS, make_expert, make_robot
from ...envs.versions import versions
from ..checkpoint import load_policy
from ..policy import Policy
from ..policy_folder import MODEL
from ..training.dataset import OnFrames
from ..training.train import TrainConfig, train
from .demo_report import write_demo_report
from .evaluate import OnRollouts, evaluate
from .job import Job
from .tune import Tuning, tune

TASK = "pickplace"
NETWORK_EVALUATIONS = (1, 2, 3, 10)  # that the report compares with the policy's own number


@dataclass(frozen=True)
class DemoConfig:
    """How much is done."""

    # see with two cameras, and know of the scene nothing else: an hour or two in place of minutes
    cameras: bool = False
    demonstrations: int = 0  # of the scripted expert; 0 for 100, with cameras 200
    # test starts per number of network evaluations, which is chosen on four times as many
    episodes: int = 50
    workers: int = 0  # processes, 0 for one per core

    @property
    def recorded(self) -> int:
        """Return how many demonstrations are recorded."""
        return self.demonstrations or (200 if self.cameras else 100)


@dataclass(frozen=True)
class DemoEvents:
    """Who is given what happens."""

    on_stage: Callable[[str], None] = lambda title: None
    on_episode: Callable[[Outcome, Episode | None], None] = lambda outcome, episode: None
    on_frames: OnFrames = lambda camera, done, total: None
    on_training: Callable[[dict[str, float]], None] = lambda row: None
    on_rollouts: OnRollouts = lambda job, count: None
    on_tuned: Callable[[Tuning], None] = lambda tuning: None
    on_evaluated: Callable[[dict[str, Any]], None] = lambda evaluation: None
    log: Callable[[str], None] = lambda text: None


def demo(
    out: Path,
    config: DemoConfig,
    training: TrainConfig,
    *,
    device: str = "cpu",
    command: str = "make demo",
    events: DemoEvents | None = None,
) -> Path:
    """Run every stage that is not done yet, then write report.html and return where it lies.

    Stopped and started again, it goes on. command: that does it again, as the report says.
    """
    events = events or DemoEvents()
    began = time.monotonic()
    events.on_stage("1. Demonstrations: a scripted expert, left or right past the post")
    _record(out / "demos", config, events)
    events.on_stage("2. Training")
    _train(out, training, device, events)
    events.on_stage("3. How many network evaluations? Validation starts tell")
    tuning = tune(
        out / "policy",
        task=TASK,
        data=str(out / "demos"),
        episodes=4 * config.episodes,
        workers=config.workers,
        on_rollouts=events.on_rollouts,
    )
    events.on_tuned(tuning)
    events.on_stage("4. Test: starts that nothing has seen")
    policy = load_policy(out / "policy")
    evaluation = _test(out, policy, config, events)
    events.on_stage("5. Report")
    cost = {
        "wall time": f"{time.monotonic() - began:.0f} s",
        "CPU time": f"{_measure_cpu_seconds():.0f} s",
    }
    own = _make_job(out, policy, policy.config.drawn_by.cost, config.episodes)
    return write_demo_report(out, policy, own, evaluation, command, cost, events.log)


def _record(data: Path, config: DemoConfig, events: DemoEvents) -> None:
    """Record what is missing; ConfigError where there are demonstrations of another kind."""
    cameras = TASKS[TASK].cameras if config.cameras else ()
    with closing(make_robot(TASK, cameras=cameras)) as robot:
        recorded = 0
        if data.exists():
            store = DemoStore.open(data)
            if store.spec != robot.spec:
                raise ConfigError(
                    f"{data} holds demonstrations of another kind, which see "
                    f"{names(store.spec.images)}: choose another out="
                )
            recorded = len(store)
        if recorded >= config.recorded:
            return
        record_expert(
            robot,
            make_expert(TASK),
            data,
            config.recorded - recorded,
            notes={"task": TASK, "actor": "scripted expert", **versions()},
            repeats=2,
            on_episode=events.on_episode,
        )


def _train(out: Path, training: TrainConfig, device: str, events: DemoEvents) -> None:
    run = out / "policy"
    if (run / MODEL).exists():
        events.log(f"{run} is trained already")
    else:
        train(
            out / "demos",
            run,
            training,
            device=device,
            report=events.on_training,
            on_frames=events.on_frames,
            log=events.log,
        )


def _test(out: Path, policy: Policy, config: DemoConfig, events: DemoEvents) -> dict[str, Any]:
    """Evaluate the policy, and write evaluation.json."""
    counts = sorted({*NETWORK_EVALUATIONS, policy.config.drawn_by.cost})
    jobs = [_make_job(out, policy, count, config.episodes) for count in counts]
    evaluation = evaluate(jobs, workers=config.workers, on_rollouts=events.on_rollouts)
    write_file(out / "evaluation.json", json.dumps(evaluation, indent=1).encode())
    events.on_evaluated(evaluation)
    return evaluation


def _make_job(out: Path, policy: Policy, network_evaluations: int, episodes: int) -> Job:
    sampler = policy.config.drawn_by.at(network_evaluations)
    seeds = evaluation_seeds(FIRST_TEST_SEED, episodes)
    return Job(str(out / "policy"), TASK, sampler, seeds)


def _measure_cpu_seconds() -> float:
    """Return the CPU time of this process and of its children so far [s]."""
    seconds = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        seconds += usage.ru_utime + usage.ru_stime
    return seconds
