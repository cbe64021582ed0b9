"""`fewstep train`: a policy from demonstrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING
from rich.console import Console

from ..policy import Policy
from ..training.train import RESUME, TrainConfig
from ..training.train import train as train_policy
from .tables import bar


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a policy on demonstrations; the same command again goes on with an unfinished run.

    policy: a run folder to continue from, with these demonstrations; model.net.prefix=true teaches it to go on from a prefix.
    device: "auto" is the GPU where there is one.
    threads: of the CPU, 0 tries which number is fastest here. recipe: settings from configs/recipe, as in recipe=pusht.
    """

    data: str = MISSING
    out: str = "out/train"
    policy: str = ""
    device: str = "auto"


def train(c: Train, console: Console) -> int:
    """Train with a progress bar, leaving policy, log and TensorBoard events in a folder."""
    device = ("cuda" if torch.cuda.is_available() else "cpu") if c.device == "auto" else c.device
    config = TrainConfig(**{f.name: getattr(c, f.name) for f in fields(TrainConfig)})
    policy = run_training(c.data, c.out, config, console, start=c.policy or None, device=device)
    size = sum(p.numel() for p in policy.parameters())
    console.print(
        f"{c.out}: a policy of {size / 1e6:.2f} M parameters; try: fewstep evaluate policy={c.out} task=..."
    )
    return 0


def run_training(
    data: str, out: str, config: TrainConfig, console: Console, **options: Any
) -> Policy:
    """`train.train` with a progress bar that first says how long it will take here."""
    return with_progress(
        lambda report: train_policy(data, out, config, report=report, **options),
        out,
        config,
        console,
    )


def with_progress(
    work: Callable[[Callable[[dict[str, float]], None]], Policy],
    out: str,
    config: TrainConfig,
    console: Console,
) -> Policy:
    """Do `work`, which reports the rows of its log, behind a progress bar; after Ctrl-C say what is kept."""
    with bar(console) as progress:
        line = progress.add_task("training", total=config.steps)
        said: list[int] = []

        def report(row: dict[str, float]) -> None:
            if not said:
                left = (config.steps - row["step"]) / row["steps_per_second"]
                rate = row["steps_per_second"]
                time = f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
                console.print(
                    f"{rate:.1f} steps of {config.batch} windows a second here: about {time}"
                )
            said.append(1)
            note = f"training, loss {row['loss']:.4f}"
            progress.update(line, completed=int(row["step"]), description=note)

        try:
            return work(report)
        except KeyboardInterrupt:
            if (Path(out) / RESUME).exists():
                console.print(f"saved in {out}: the same command goes on from here")
            raise
