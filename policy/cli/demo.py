"""`fewstep demo`: the whole path on the built-in task, from demonstrations to a report."""

from __future__ import annotations

import json
import os
import platform
import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from ...demos.store import DemoStore
from ...envs import RobotError, run_episode
from ...envs.sim.registry import make_robot
from ..checkpoint import MODEL, load_policy, read_meta, write_file
from ..engines.eager import EagerEngine
from ..evaluation import rollouts
from ..evaluation.report import Plan, success_picture, write_report
from ..evaluation.statistics import wilson
from ..policy import Policy
from ..serving.runners import InlineRunner, make_agent
from ..training.log import LOG
from ..training.train import TrainConfig
from .evaluate import run_evaluation
from .record import Record, record
from .tables import results_table, versions
from .train import run_training
from .tune import Tune, tune

COUNTS = (1, 2, 3, 10)  # network evaluations that the report compares


@dataclass(frozen=True)
class Demo:
    """The whole path on the built-in task: record, train, evaluate, report.

    episodes: unseen test starts per number of network evaluations, which is chosen on four times as many.
    Stopped and started again, it goes on.
    """

    out: str = "out"
    demonstrations: int = 100
    episodes: int = 50
    steps: int = 4000
    workers: int = 0


def demo(c: Demo, console: Console) -> int:
    """Run every stage that is not done yet, then write report.html."""
    began, out, run = time.monotonic(), Path(c.out), Path(c.out) / "policy"
    console.rule("1. Demonstrations: a scripted expert, left or right past the post")
    have = len(DemoStore.open(out / "demos")) if (out / "demos").exists() else 0
    if have < c.demonstrations:
        record(Record(str(out / "demos"), episodes=c.demonstrations - have, repeats=2), console)
    console.rule("2. Training")
    _train(c, out, run, console)
    console.rule("3. How many network evaluations? Validation starts tell")
    tune(
        Tune(str(run), "pickplace", str(out / "demos"), 4 * c.episodes, workers=c.workers), console
    )
    policy = load_policy(run)
    console.rule("4. Test: starts that nothing has seen")
    jobs = [_job(run, policy, n, rollouts.TEST, c.episodes) for n in COUNTS]
    evaluation = run_evaluation(policy, jobs, console, c.workers)
    write_file(out / "evaluation.json", json.dumps(evaluation, indent=1).encode())
    console.print(results_table(evaluation))
    used = sum(
        sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    console.rule("5. Report")
    _report(
        c,
        out,
        policy,
        evaluation,
        {"wall time": f"{time.monotonic() - began:.0f} s", "CPU time": f"{used:.0f} s"},
    )
    console.print(f"open {out / 'report.html'} in a browser")
    return 0


def recipe() -> TrainConfig:
    """The settings of configs/recipe/pickplace.yaml."""
    from .main import load, settings

    c: Any = settings("train", load("train"), ["recipe=pickplace", "data=."])
    return TrainConfig(**{k: getattr(c, k) for k in TrainConfig.__dataclass_fields__})


def _train(c: Demo, out: Path, run: Path, console: Console) -> None:
    if (run / MODEL).exists():
        console.print(f"{run} is trained already")
    else:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        run_training(
            str(out / "demos"), str(run), replace(recipe(), steps=c.steps), console, device=device
        )


def _job(run: Path, policy: Policy, evaluations: int, seed: int, episodes: int) -> rollouts.Job:
    sampler = policy.config.drawn_by.at(evaluations)
    return rollouts.Job(str(run), "pickplace", sampler, rollouts.seed_range(seed, episodes))


def _report(
    c: Demo, out: Path, policy: Policy, evaluation: dict[str, Any], cost: dict[str, str]
) -> None:
    own = policy.config.drawn_by.cost
    row = next(r for r in evaluation["results"] if r["network_evaluations"] == own)
    sides = demonstrated_sides(DemoStore.open(out / "demos"))
    share = (
        f"{sides['left']:.2f} (95 % {' to '.join(f'{x:.2f}' for x in wilson(*sides['counts']))})"
    )
    threads = read_meta(out / "policy")["provenance"].get("threads", "all")
    facts = {
        "command": "make demo",
        "command to evaluate again": f"fewstep evaluate policy={out / 'policy'} task=pickplace network_evaluations=[1,2,3,10]",
        "demonstrations": f"{c.demonstrations} of a scripted expert, left past the post: {share}",
        "start seeds": f"demonstrations 10000 on, validation 0 on, test {rollouts.TEST} on",
        "parameters": f"{sum(p.numel() for p in policy.parameters()):,}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {threads} of them in training",
        "versions": ", ".join(f"{k} {v}" for k, v in versions().items()),
    }
    write_report(
        out / "report.html",
        title="Pick and place past a post",
        evaluation=evaluation,
        log=[json.loads(line) for line in (out / "policy" / LOG).read_text().splitlines()],
        control_period_ms=1e3 / policy.spec.command_hz,
        sides={k: sides[k] for k in ("left", "right")},
        plan=_plan(policy),
        video=_video(_job(out / "policy", policy, own, rollouts.TEST, c.episodes), row, out),
        facts=facts | cost,
        own=own,
    )
    success_picture(evaluation, out / "success.png")


def demonstrated_sides(store: DemoStore) -> dict[str, Any]:
    """Shares of episodes that carried the cube left and right past the post, and (left, all) as counts."""
    from ...envs.sim.pick_place import load_model

    post, cube = load_model().body("post").pos[0], store.array("cube_position")
    paths = np.split(cube, store.ends[:-1])
    left = sum(bool(path[np.argmax(path[:, 0] > post), 1] > 0) for path in paths)
    return {"left": left / len(paths), "right": 1 - left / len(paths), "counts": (left, len(paths))}


def _plan(policy: Policy, seed: int = rollouts.TEST) -> Plan:
    """One test episode with every chunk that its Agent made."""
    engine = EagerEngine(policy)
    robot, actor = make_robot("pickplace"), make_agent(engine, InlineRunner(engine))
    steps, chunks = [], {}
    for step in run_episode(robot, actor, seed=seed, max_seconds=float("inf")):
        if step is not None and actor.chunk is not None:
            steps.append(step)
            chunks[actor.chunk.time] = actor.chunk
    start = steps[0].obs.time
    fields = policy.spec.actions
    labels = [name for key, f in fields.items() for name in (f.names or _numbered(key, f.size))]
    return Plan(
        np.array([s.obs.time - start for s in steps]),
        np.stack([s.sent for s in steps]),
        labels,
        [f.unit for f in fields.values() for _ in range(f.size)],
        [(k.time - start, k.dt, k.actions) for k in chunks.values()],
    )


def _numbered(key: str, size: int) -> list[str]:
    return [key] if size == 1 else [f"{key} {i}" for i in range(size)]


def _video(job: rollouts.Job, row: dict[str, Any], out: Path) -> Path | None:
    """A test episode that passed left beside one that passed right; None where this machine draws no pictures."""
    import imageio.v3 as iio

    by_side = {e["info"].get("side"): e["seed"] for e in reversed(row["rollouts"]) if e["success"]}
    seeds = [by_side[side] for side in ("left", "right") if side in by_side] or list(job.seeds[:1])
    try:
        films = [frames for _, frames in rollouts.pictures(job, seeds, 2)]
    except RobotError as error:
        print(f"no video: {error}")
        return None
    longest = max(len(film) for film in films)
    padded = [
        np.concatenate([film, np.repeat(film[-1:], longest - len(film), 0)]) for film in films
    ]
    iio.imwrite(
        out / "video.mp4", np.concatenate(padded, 2), fps=round(job.robot().spec.command_hz)
    )
    return out / "video.mp4"
