"""`fewstep distill`: a student that needs one network evaluation per chunk."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING
from rich.console import Console

from ..training.distill import LabelConfig, distill
from ..training.train import TrainConfig
from .printing import say
from .train import leave_exports
from .training_bar import TrainingBar


@dataclass(frozen=True)
class DistillSettings(LabelConfig):
    """Distill a policy into a student that needs one network evaluation per chunk."""

    policy: str = MISSING  # the teacher: a run folder, or a policy that comes with the package
    data: str = MISSING  # demonstrations, of which only the observations are used
    out: str = "out/distill"  # the student's run folder
    steps: int = 4000  # of the optimiser
    batch: int = 256  # windows per step
    lr: float = 5e-4  # learning rate at its peak
    seed: int = 0  # of all that is drawn
    threads: int = 1  # of the CPU; 0 tries which number is fastest here
    device: str = "cpu"  # of the networks: cpu or cuda
    export: bool = True  # leave beside the weights what runs the policy faster, and without torch


def run(settings: DistillSettings, console: Console) -> int:
    """Label and train behind a progress bar."""
    labels = LabelConfig(settings.copies, settings.perturb, settings.network_evaluations)
    training = TrainConfig(
        steps=settings.steps,
        batch=settings.batch,
        lr=settings.lr,
        warmup=100,
        seed=settings.seed,
        threads=settings.threads,
    )
    with TrainingBar(console, training, settings.out) as progress:
        distill(
            settings.policy,
            settings.data,
            settings.out,
            labels,
            training,
            settings.device,
            progress.report,
            progress.log,
        )
    if settings.export:
        leave_exports(settings.out, console)
    say(
        console,
        f"{settings.out}: one evaluation per chunk; "
        f"try: fewstep evaluate policy={settings.out} task=...",
    )
    return 0
