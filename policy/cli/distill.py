"""`fewstep distill`: a student that needs one network evaluation per chunk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from omegaconf import MISSING
from rich.console import Console

from ..training.distill import LabelConfig
from ..training.distill import distill as distill_policy
from ..training.train import TrainConfig
from .train import with_progress


@dataclass(frozen=True)
class Distill:
    """Distill a policy into a student that needs one network evaluation per chunk."""

    policy: str = MISSING  # the teacher: a run folder, or a policy that comes with the package
    data: str = MISSING  # demonstrations, of which only the observations are used
    out: str = "out/distill"  # the student's run folder
    copies: int = 12  # labels per observation, each from noise of its own
    perturb: float = 0.1  # [standard deviations] shift of the observation in every other copy
    network_evaluations: int = 10  # of the teacher, per label
    steps: int = 4000  # of the optimiser
    batch: int = 256  # windows per step
    lr: float = 5e-4  # learning rate at its peak
    seed: int = 0  # of all that is drawn
    threads: int = 1  # of the CPU; 0 tries which number is fastest here
    device: str = "cpu"  # of the networks: cpu or cuda


def distill(settings: Distill, console: Console) -> int:
    """Label and train behind a progress bar."""
    labels = LabelConfig(settings.copies, settings.perturb, settings.network_evaluations)
    config = TrainConfig(
        steps=settings.steps,
        batch=settings.batch,
        lr=settings.lr,
        warmup=100,
        seed=settings.seed,
        threads=settings.threads,
    )
    work = partial(
        distill_policy,
        settings.policy,
        settings.data,
        settings.out,
        labels,
        config,
        settings.device,
    )
    with_progress(work, settings.out, config, console)
    console.print(
        f"{settings.out}: one evaluation per chunk;"
        f" try: fewstep evaluate policy={settings.out} task=..."
    )
    return 0
