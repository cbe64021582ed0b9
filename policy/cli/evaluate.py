"""`fewstep evaluate`: seeded rollouts of a policy."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.console import Console

from ...envs import ConfigError, FewstepError
from ...envs.errors import refusing
from ...envs.tables import read_json
from ..checkpoint import load_policy, require_match, write_file
from ..diffusion.samplers import Sampler
from ..evaluation import rollouts
from ..policy import Policy
from .tables import bar, comparison_table, results_table, versions


@dataclass(frozen=True)
class Evaluate:
    """Roll a policy out on seeded starts: success with 95 % intervals, latency, score; writes evaluation.json.

    network_evaluations: per chunk, a number or a list, by default the policy's own.
    sampler: ddim or ddpm; times: a grid from 1 to 0 in place of network_evaluations;
    start, noise, clip: see samplers.Sampler.
    seed: of the first start; 0 to 9999 are for choosing, 100000 upwards for reporting.
    workers: processes, 0 for one per core; they change nothing but the time.
    delay: ticks from observation to chunk, a number or a list; jitter: at most so many more, drawn for each chunk;
    recorded: the log of a `fewstep run`, whose chunks' times are drawn in place of `delay`.
    on_delay: what the Agent does meanwhile: prefix, switch or hold.
    replay: an evaluation.json whose failed episodes are rolled out again and filmed, at most `videos` of them.
    compare: an evaluation.json on the same seeds to set beside this one.
    """

    policy: str = MISSING
    task: str = MISSING
    out: str = "out/evaluation"
    episodes: int = 50
    seed: int = rollouts.TEST
    network_evaluations: Any = None
    sampler: str = ""
    times: tuple[float, ...] = ()
    start: float | None = None
    noise: float | None = None
    clip: float | None = None
    workers: int = 0
    delay: Any = 0
    jitter: float = 0.0
    recorded: str = ""
    on_delay: str = ""
    hz: float | None = None
    seconds: float | None = None
    replay: str = ""
    videos: int = 4
    compare: str = ""


def evaluate(c: Evaluate, console: Console) -> int:
    """Evaluate a policy with one or several numbers of network evaluations."""
    policy, seeds = load_policy(c.policy), rollouts.seed_range(c.seed, c.episodes)
    if not 0 <= c.jitter < math.inf:
        raise ConfigError(f"jitter must be ticks, 0 or more, not {c.jitter}")
    if c.seconds is not None and not c.seconds > 0:
        raise ConfigError(f"seconds must be above 0, not {c.seconds}")
    jobs = [
        rollouts.Job(
            c.policy, c.task, s, seeds, d, c.jitter, c.recorded, c.on_delay, c.hz, c.seconds
        )
        for s in samplers(c, policy.config.drawn_by)
        for d in _whole("delay", c.delay)
    ]
    if c.replay:
        return _replay(c, jobs[0], console)
    evaluation = run_evaluation(policy, jobs, console, c.workers)
    out = Path(c.out)
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / "evaluation.json", json.dumps(evaluation, indent=1).encode())
    console.print(results_table(evaluation))
    console.print(f"written to {out / 'evaluation.json'}")
    if c.compare:
        with refusing(FewstepError, f"{c.compare} is no evaluation.json"):
            console.print(comparison_table(evaluation, _read(c.compare)))
    return 0


def samplers(c: Evaluate, own: Sampler) -> list[Sampler]:
    """The samplers that the settings name."""
    given = {k: v for k in ("start", "noise", "clip") if (v := getattr(c, k)) is not None}
    base = replace(own, **given)
    if c.sampler and c.sampler != own.step:
        base = replace(base, step=c.sampler, times=())
    if c.times:
        return [replace(base, times=c.times, network_evaluations=len(c.times) - 1)]
    if c.network_evaluations is None:
        return [base]
    counts = _whole("network_evaluations", c.network_evaluations)
    return [base.at(n) for n in counts]


def _whole(name: str, given: Any) -> list[int]:
    """A whole number, or a list of such."""
    numbers = given if isinstance(given, list) else [given]
    bad = [n for n in numbers if type(n) is not int or n < 0]
    if bad or not numbers:
        raise ConfigError(f"{name} must be whole numbers, not {bad}")
    return numbers


def run_evaluation(
    policy: Policy, jobs: list[rollouts.Job], console: Console, workers: int = 0
) -> dict[str, Any]:
    """Roll out every job and measure its latency; the content of evaluation.json."""
    rows, robot = [], jobs[0].robot()
    require_match(policy, robot.spec)
    robot.reset(0)
    obs = robot.observe()
    with bar(console) as progress:
        for job in jobs:
            n = job.sampler.cost
            line = progress.add_task(f"{n} evaluation{'s' if n > 1 else ''}", total=len(job.seeds))
            done = rollouts.evaluate(
                job, workers or os.cpu_count() or 1, lambda k, i=line: progress.advance(i, k)
            )
            rows.append(rollouts.summary(job, done, rollouts.latency(policy, job.sampler, obs)))
    job = jobs[0]
    facts = {"task": job.task, "policy": job.policy, "seed": job.seeds[0], "versions": versions()}
    return facts | {"results": rows}


def _replay(c: Evaluate, job: rollouts.Job, console: Console) -> int:
    before = _read(c.replay)
    with refusing(FewstepError, f"{c.replay} is no evaluation.json", c.replay):
        job, failed = _again(before, job)
    Path(c.out).mkdir(parents=True, exist_ok=True)
    for path in rollouts.film(job, failed, Path(c.out), c.videos):
        console.print(f"written to {path}")
    console.print(f"{len(failed)} of {len(job.seeds)} episodes had failed")
    return 0


def _again(before: dict[str, Any], job: rollouts.Job) -> tuple[rollouts.Job, list[int]]:
    """The job of an earlier evaluation, with this sampler where it is there, and the seeds on which it had failed."""
    row = next(
        (r for r in before["results"] if _same(r["sampler"], job.sampler)), before["results"][0]
    )
    given = row["sampler"] | {"times": tuple(row["sampler"]["times"])}
    job = replace(
        job,
        sampler=Sampler(**given),
        seeds=tuple(e["seed"] for e in row["rollouts"]),
        delay=row["delay_ticks"],
        jitter=row["jitter_ticks"],
        recorded=row["recorded"],
        on_delay=row["on_delay"],
    )
    return job, [e["seed"] for e in row["rollouts"] if not e["success"]]


def _same(row: dict[str, Any], sampler: Sampler) -> bool:
    return (row["step"], tuple(row["times"])) == (sampler.step, sampler.grid())


def _read(path: str) -> dict[str, Any]:
    with refusing(FewstepError, f"{path} is no evaluation.json", path):
        evaluation = read_json(path, FewstepError)
        return evaluation if evaluation["results"] else evaluation["results"][0]
