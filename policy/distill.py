"""Distillation: a student says in one evaluation what a teacher needs many for, with the teacher as a free oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from omegaconf import MISSING
from rich.console import Console
from torch import Generator, Tensor

from ..demos.store import DemoStore
from ..envs import ConfigError
from .checkpoint import MODEL, load_policy, require_match
from .data import Data, read_data
from .policy import Policy
from .samplers import Sampler
from .threads import threads
from .train import TrainConfig, fit
from .verbs import with_progress
from .verbs_demos import Record, record


@dataclass(frozen=True)
class Distill:
    """Distill a policy into a student that needs one network evaluation per chunk.

    policy: the teacher's run folder; data: demonstrations, of which only the observations are used.
    copies: labels per observation, each from a noise of its own; perturb: shift of the observation in every other copy,
    in standard deviations; evaluations: of the teacher per label; start: scale of the noise, 0 for a single answer per
    observation. task, rounds: with a simulated task, so many times what the student visits in `episodes` episodes is
    labelled too, and training goes on.
    """

    policy: str = MISSING
    data: str = MISSING
    out: str = "out/distill"
    task: str = ""
    rounds: int = 0
    episodes: int = 25
    copies: int = 12
    perturb: float = 0.1
    evaluations: int = 10
    start: float = 1.0
    steps: int = 4000
    batch: int = 256
    lr: float = 5e-4
    seed: int = 0
    threads: int = 1
    device: str = "cpu"


def distill(c: Distill, console: Console) -> int:
    """Label and train, then as often as asked: let the student act, label where it came to, and train on."""
    if c.rounds and not c.task:
        raise ConfigError("rounds need a task= in which the student can act")
    config = TrainConfig(steps=c.steps, batch=c.batch, lr=c.lr, warmup=100, seed=c.seed, threads=c.threads)
    visited, stores, student = Path(c.out) / "visited", [c.data], c.policy
    for k in range(c.rounds + 1):
        out = str(Path(c.out) / f"round-{k}") if k < c.rounds else c.out
        if k:
            left = c.episodes * k - (len(DemoStore.open(visited)) if visited.exists() else 0)
            record(Record(str(visited), c.task, left, policy=student, failures=True), console)
            stores = [c.data, str(visited)]
        if not (Path(out) / MODEL).exists():
            work = partial(train_student, c, student, tuple(stores), out, config)
            with_progress(work, out, config, console)
        student = out
    console.print(f"{c.out}: one evaluation per chunk; try: fewstep evaluate policy={c.out} task=...")
    return 0


def train_student(
    c: Distill,
    begin: str,
    data: Sequence[str],
    out: str,
    config: TrainConfig,
    report: Callable[[dict[str, float]], None] = lambda row: None,
) -> Policy:
    """Train a student, from the weights of the policy `begin`, on the observations in the stores `data`.

    It regresses noise and observation -> the teacher's chunk (Luhman and Luhman 2021); on what students visited this is
    DAgger (Ross et al. 2011) with an expert that costs nothing.
    """
    teacher = load_policy(c.policy, c.device)
    sampler = replace(teacher.config.drawn_by.at(c.evaluations), start=c.start)
    with threads(config.threads or 1):
        parts = [read_data(path, teacher.config, torch.device(c.device)) for path in data]
        for part in parts:
            require_match(teacher, part.spec)
        labelled = label(teacher, parts, sampler, c.copies, c.perturb, Generator(c.device).manual_seed(c.seed))
    own = Sampler(evaluations=1, start=c.start)
    config = replace(config, model=replace(teacher.config, objective="one_step", sampler=own))
    student = Policy(teacher.spec, config.model, teacher.normaliser).to(c.device)
    student.load_state_dict(load_policy(begin, c.device).state_dict())
    origin = {"teacher": c.policy, "begin": begin, "data": list(data), "distill": asdict(c)}
    return fit(student.train(), labelled, Path(out), config, origin, report)


def label(
    teacher: Policy, parts: Sequence[Data], sampler: Sampler, copies: int, perturb: float, generator: Generator
) -> Data:
    """Windows with the teacher's chunks in place of the demonstrated ones, and the noise that each came from."""
    made = [_label(teacher, part, sampler, perturb * (i % 2), generator) for part in parts for i in range(copies)]
    arrays = {k: torch.cat([m[k] for m in made]) for k in made[0]}
    rows = torch.arange(len(arrays["action"]), device=generator.device)
    return Data(teacher.spec, arrays, (rows, rows), None, teacher.normaliser)


def _label(teacher: Policy, part: Data, sampler: Sampler, perturb: float, generator: Generator) -> Mapping[str, Tensor]:
    rows = torch.arange(len(part.train[0]), device=generator.device)
    batch = {k: v for k, v in part.batch(rows, part.train).items() if k in teacher.spec.observations}
    obs = {k: _shift(v, perturb, generator) for k, v in batch.items()}
    shape = (sampler.noises, len(rows), teacher.config.horizon, teacher.noise_size)
    noise = torch.randn(shape, generator=generator, device=generator.device)
    chunks = [teacher.act({k: v[i] for k, v in obs.items()}, noise[:, i], sampler=sampler) for i in rows.split(256)]
    return {**obs, "action": torch.cat(chunks), "noise": sampler.start * noise[0]}


def _shift(x: Tensor, amount: float, generator: Generator) -> Tensor:
    """Every history of x (W, O, ...) moved as a whole, by `amount` standard deviations of each element."""
    if not amount:
        return x
    by = torch.randn(x[:, :1].shape, generator=generator, device=generator.device)
    return x + amount * x.flatten(0, 1).std(0) * by
