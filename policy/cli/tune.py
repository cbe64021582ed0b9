"""`fewstep tune`: find the fewest network evaluations that lose nothing, and keep them."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING
from rich.console import Console

from ..evaluation.tune import tune
from .evaluate import advance
from .progress import Bars
from .tables import print_tuning


@dataclass(frozen=True)
class TuneSettings:
    """Find the fewest network evaluations that are not worse than ten, and keep them.

    The reference is ten evaluations, or what a policy of a diffusion schedule was trained for.
    Without a task the chunks decide, and that is no measurement of success.
    """

    policy: str = MISSING  # a run folder; its policy.json gets the choice and the evidence
    task: str = ""  # a simulated task; every mode runs the same validation starts
    data: str = ""  # demonstrations; how far each mode's chunks lie from what was shown nearby
    episodes: int = 200  # rollouts per mode
    margin: float = 0.05  # loss of success that, with 95 % confidence, a mode must stay below
    workers: int = 0  # processes, 0 for one per core
    engine: str = "eager"  # what computes the chunks


def run(settings: TuneSettings, console: Console) -> int:
    """Measure, show, and say what was chosen."""
    with Bars(console) as bars:
        tuning = tune(
            settings.policy,
            task=settings.task,
            data=settings.data,
            episodes=settings.episodes,
            margin=settings.margin,
            workers=settings.workers,
            engine=settings.engine,
            on_rollouts=lambda job, count: advance(bars, job, count),
        )
    print_tuning(console, tuning)
    return 0
