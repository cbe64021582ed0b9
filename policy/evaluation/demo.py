"""The whole path on the built-in task: record, train, tune, test, report."""

from __future__ import annotations

import json
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...demos.episode import Episode
from ...demos.recording.experts import record_expert
from ...demos.store import DemoStore
from ...envs import Outcome, RobotError, run_episode
from ...envs.atomic_files import write_file
from ...envs.seeds import FIRST_TEST_SEED, evaluation_seeds
from ...envs.sim.registry import make_expert, make_robot
from ...envs.versions import versions
from ..checkpoint import load_policy
from ..engines.eager import EagerEngine
from ..policy import Policy
from ..policy_folder import MODEL, read_meta
from ..serving.runners import InlineRunner, make_agent
from ..training.log import LOG
from ..training.train import TrainConfig, train
from .evaluate import OnRollouts, evaluate
from .films import draw_rollouts
from .job import Job
from .report import Plan, success_picture, write_report
from .statistics import wilson
from .tune import Tuning, tune

TASK = "pickplace"
COUNTS = (1, 2, 3, 10)  # network evaluations that the report compares


@dataclass(frozen=True)
class DemoConfig:
    """How much is done."""

    demonstrations: int = 100  # of the scripted expert
    # test starts per number of network evaluations, which is chosen on four times as many
    episodes: int = 50
    steps: int = 4000  # of training
    workers: int = 0  # processes, 0 for one per core


@dataclass(frozen=True)
class DemoEvents:
    """Who hears what happens."""

    on_stage: Callable[[str], None] = lambda title: None
    on_episode: Callable[[Outcome, Episode | None], None] = lambda outcome, episode: None
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
    events: DemoEvents | None = None,
) -> Path:
    """Run every stage that is not done yet, then write report.html and return where it lies.

    Stopped and started again, it goes on.
    """
    events = events or DemoEvents()
    began = time.monotonic()
    run = out / "policy"
    events.on_stage("1. Demonstrations: a scripted expert, left or right past the post")
    _record(out / "demos", config.demonstrations, events)
    events.on_stage("2. Training")
    if (run / MODEL).exists():
        events.log(f"{run} is trained already")
    else:
        train(out / "demos", run, training, device=device, report=events.on_training)
    events.on_stage("3. How many network evaluations? Validation starts tell")
    tuning = tune(
        run,
        task=TASK,
        data=str(out / "demos"),
        episodes=4 * config.episodes,
        workers=config.workers,
        on_rollouts=events.on_rollouts,
    )
    events.on_tuned(tuning)
    events.on_stage("4. Test: starts that nothing has seen")
    policy = load_policy(run)
    jobs = [_job(run, policy, count, config.episodes) for count in COUNTS]
    evaluation = evaluate(jobs, workers=config.workers, on_rollouts=events.on_rollouts)
    write_file(out / "evaluation.json", json.dumps(evaluation, indent=1).encode())
    events.on_evaluated(evaluation)
    events.on_stage("5. Report")
    cost = {"wall time": f"{time.monotonic() - began:.0f} s", "CPU time": f"{_cpu_seconds():.0f} s"}
    _report(out, config, policy, evaluation, cost, events)
    return out / "report.html"


def _record(data: Path, demonstrations: int, events: DemoEvents) -> None:
    recorded = len(DemoStore.open(data)) if data.exists() else 0
    if recorded >= demonstrations:
        return
    robot = make_robot(TASK)
    notes = {"task": TASK, "actor": "scripted expert", **versions()}
    record_expert(
        robot,
        make_expert(TASK),
        data,
        demonstrations - recorded,
        notes=notes,
        repeats=2,
        on_episode=events.on_episode,
    )


def _job(run: Path, policy: Policy, network_evaluations: int, episodes: int) -> Job:
    sampler = policy.config.drawn_by.at(network_evaluations)
    return Job(str(run), TASK, sampler, evaluation_seeds(FIRST_TEST_SEED, episodes))


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of its children so far [s]."""
    seconds = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        seconds += usage.ru_utime + usage.ru_stime
    return seconds


def _report(
    out: Path,
    config: DemoConfig,
    policy: Policy,
    evaluation: Mapping[str, Any],
    cost: Mapping[str, str],
    events: DemoEvents,
) -> None:
    own = policy.config.drawn_by.cost
    sides = demonstrated_sides(DemoStore.open(out / "demos"))
    job = _job(out / "policy", policy, own, config.episodes)
    log = [json.loads(line) for line in (out / "policy" / LOG).read_text().splitlines()]
    write_report(
        out / "report.html",
        title="Pick and place past a post",
        evaluation=evaluation,
        log=log,
        control_period_ms=1e3 / policy.spec.command_hz,
        sides={"left": sides.left / sides.episodes, "right": 1 - sides.left / sides.episodes},
        plan=_plan(policy),
        video=_video(job, evaluation, own, out, events),
        facts=_facts(out, config, policy, sides) | dict(cost),
        own=own,
    )
    success_picture(evaluation, out / "success.png")


def _facts(out: Path, config: DemoConfig, policy: Policy, sides: Sides) -> dict[str, str]:
    low, high = wilson(sides.left, sides.episodes)
    share = f"{sides.left / sides.episodes:.2f} (95 % {low:.2f} to {high:.2f})"
    threads = read_meta(out / "policy")["provenance"].get("threads", "all")
    again = f"fewstep evaluate policy={out / 'policy'} task={TASK} network_evaluations=[1,2,3,10]"
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    return {
        "command": "make demo",
        "command to evaluate again": again,
        "demonstrations": f"{config.demonstrations} of a scripted expert, left past the post: {share}",
        "start seeds": f"demonstrations 10000 on, validation 0 on, test {FIRST_TEST_SEED} on",
        "parameters": f"{parameters:,}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {threads} of them in training",
        "versions": ", ".join(f"{library} {version}" for library, version in versions().items()),
    }


@dataclass(frozen=True)
class Sides:
    """How many of so many episodes carried the cube past the post on the left."""

    left: int
    episodes: int


def demonstrated_sides(store: DemoStore) -> Sides:
    """Count the demonstrations that carried the cube past the post on the left."""
    from ...envs.sim.pick_place import load_model

    post = load_model().body("post").pos[0]
    paths = np.split(store.array("cube_position"), store.ends[:-1])
    left = 0
    for path in paths:
        first_behind = np.argmax(path[:, 0] > post)
        left += bool(path[first_behind, 1] > 0)
    return Sides(left, len(paths))


def _plan(policy: Policy, seed: int = FIRST_TEST_SEED) -> Plan:
    """Return one test episode with every chunk that its Agent made."""
    robot = make_robot(TASK)
    engine = EagerEngine(policy)
    actor = make_agent(engine, InlineRunner(engine))
    steps = []
    chunks = {}
    for step in run_episode(robot, actor, seed=seed, max_seconds=float("inf")):
        if step is not None and actor.chunk is not None:
            steps.append(step)
            chunks[actor.chunk.time] = actor.chunk
    start = steps[0].obs.time
    labels: list[str] = []
    units: list[str] = []
    for key, field in policy.spec.actions.items():
        labels += field.names or _numbered(key, field.size)
        units += [field.unit] * field.size
    return Plan(
        np.array([step.obs.time - start for step in steps]),
        np.stack([step.sent for step in steps]),
        labels,
        units,
        [(chunk.time - start, chunk.dt, chunk.actions) for chunk in chunks.values()],
    )


def _numbered(key: str, size: int) -> list[str]:
    return [key] if size == 1 else [f"{key} {index}" for index in range(size)]


def _video(
    job: Job, evaluation: Mapping[str, Any], own: int, out: Path, events: DemoEvents
) -> Path | None:
    """Film a test episode that passed left beside one that passed right; None where no pictures can be drawn."""
    import imageio.v3 as iio

    seeds = _a_seed_per_side(evaluation, own) or list(job.seeds[:1])
    try:
        films = [frames for _, frames in draw_rollouts(job, seeds, 2)]
    except RobotError as error:
        events.log(f"no video: {error}")
        return None
    longest = max(len(film) for film in films)
    padded = []
    for film in films:
        still = np.repeat(film[-1:], longest - len(film), 0)
        padded.append(np.concatenate([film, still]))
    path = out / "video.mp4"
    iio.imwrite(path, np.concatenate(padded, 2), fps=round(job.make_robot().spec.command_hz))
    return path


def _a_seed_per_side(evaluation: Mapping[str, Any], own: int) -> list[int]:
    """Return the first start that was passed on the left, and the first on the right."""
    for result in evaluation["results"]:
        if result["network_evaluations"] == own:
            break
    else:
        return []
    first: dict[str, int] = {}
    for rollout in result["rollouts"]:
        if rollout["success"]:
            first.setdefault(rollout["info"].get("side"), rollout["seed"])
    return [first[side] for side in ("left", "right") if side in first]
