"""Distillation: a student says in one evaluation what a teacher needs many for, with the teacher as a free oracle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from omegaconf import MISSING
from rich.console import Console
from torch import Generator, Tensor

from ...envs import ConfigError
from ..checkpoint import load_policy, require_match, require_unused
from ..diffusion.objectives import SINGLE_STEP
from ..diffusion.samplers import Sampler
from ..policy import Policy
from ..training.dataset import Data, read_data
from ..training.threads import threads
from ..training.train import TrainConfig, fit
from .train import with_progress


@dataclass(frozen=True)
class Distill:
    """Distill a policy into a student that needs one network evaluation per chunk.

    policy: the teacher's run folder; data: demonstrations, of which only the observations are used.
    copies: labels per observation, each from a noise of its own; perturb: shift of the observation in every other copy,
    in standard deviations; network_evaluations: of the teacher per label.
    """

    policy: str = MISSING
    data: str = MISSING
    out: str = "out/distill"
    copies: int = 12
    perturb: float = 0.1
    network_evaluations: int = 10
    steps: int = 4000
    batch: int = 256
    lr: float = 5e-4
    seed: int = 0
    threads: int = 1
    device: str = "cpu"


def distill(c: Distill, console: Console) -> int:
    """Label and train."""
    if c.copies < 1 or not 0 <= c.perturb < math.inf:
        raise ConfigError(
            f"copies must be at least 1 and perturb 0 or more, not {c.copies} and {c.perturb}"
        )
    require_unused(Path(c.out))
    config = TrainConfig(
        steps=c.steps, batch=c.batch, lr=c.lr, warmup=100, seed=c.seed, threads=c.threads
    )
    with_progress(partial(train_student, c, config), c.out, config, console)
    console.print(
        f"{c.out}: one evaluation per chunk; try: fewstep evaluate policy={c.out} task=..."
    )
    return 0


def train_student(
    c: Distill, config: TrainConfig, report: Callable[[dict[str, float]], None] = lambda row: None
) -> Policy:
    """Train a student, from its teacher's weights: noise and observation -> the teacher's chunk.

    Luhman and Luhman 2021, arXiv 2101.02388. Labels come without noise on the way, so that a noise has one answer.
    """
    teacher = load_policy(c.policy, c.device)
    if teacher.config.objective in SINGLE_STEP:
        raise ConfigError(
            f"{c.policy} is asked once per chunk already: there is nothing to distill"
        )
    with threads(config.threads or 1):
        data = read_data(c.data, teacher.config, torch.device(c.device))
        require_match(teacher, data.spec)
        labelled = label(teacher, data, c, Generator(c.device).manual_seed(c.seed))
    model = replace(teacher.config, objective="one_step", path="", sampler=None)
    student = Policy(teacher.spec, model, teacher.normaliser).to(c.device)
    student.load_state_dict(teacher.state_dict())
    origin = {"teacher": c.policy, "data": c.data, "distill": asdict(c)}
    return fit(student.train(), labelled, Path(c.out), replace(config, model=model), origin, report)


def label(teacher: Policy, data: Data, c: Distill, generator: Generator) -> Data:
    """Windows with the teacher's chunks in place of the demonstrated ones, and the noise that each came from."""
    sampler = Sampler(network_evaluations=c.network_evaluations, clip=teacher.config.drawn_by.clip)
    made = [_label(teacher, data, sampler, c.perturb * (i % 2), generator) for i in range(c.copies)]
    arrays = {k: torch.cat([m[k] for m in made]) for k in made[0]}
    rows = torch.arange(len(arrays["action"]), device=generator.device)
    return Data(teacher.spec, arrays, (rows, rows), None, teacher.normaliser)


def _label(
    teacher: Policy, data: Data, sampler: Sampler, perturb: float, generator: Generator
) -> Mapping[str, Tensor]:
    rows = torch.arange(len(data.train[0]), device=generator.device)
    batch = {
        k: v for k, v in data.batch(rows, data.train).items() if k in teacher.spec.observations
    }
    obs = {k: _shift(v, perturb, generator) for k, v in batch.items()}
    noise = torch.randn(
        (len(rows), teacher.config.horizon, teacher.noise_size),
        generator=generator,
        device=generator.device,
    )
    chunks = [
        teacher.act({k: v[i] for k, v in obs.items()}, noise[None, i], sampler=sampler)
        for i in rows.split(256)
    ]
    return {**obs, "action": torch.cat(chunks), "noise": noise}


def _shift(x: Tensor, amount: float, generator: Generator) -> Tensor:
    """Every history of x (W, O, ...) moved as a whole, by `amount` standard deviations of each element."""
    if not amount:
        return x
    by = torch.randn(x[:, :1].shape, generator=generator, device=generator.device)
    return x + amount * x.flatten(0, 1).std(0) * by
