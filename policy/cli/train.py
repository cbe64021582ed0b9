"""`fewstep train`: a policy from demonstrations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from omegaconf import MISSING
from rich.console import Console

from ...envs import FewstepError
from ..evaluation.held_out_error import HeldOutError
from ..training.train import TrainConfig, train
from .overrides import part_of
from .printing import say
from .training_bar import TrainingBar


@dataclass(frozen=True)
class TrainSettings(TrainConfig):
    """Train a policy on demonstrations; the same command goes on with an unfinished run."""

    data: str = MISSING  # a store of demonstrations
    out: str = "out/train"  # folder of the policy, its log, and what to resume from
    # a policy to go on from, with these demonstrations; with model.net.prefix=true it learns to go
    # on from a prefix
    policy: str = ""
    device: str = "auto"  # of PyTorch; auto is the GPU where there is one
    export: bool = True  # leave beside the weights what runs the policy faster, and without torch


def run(settings: TrainSettings, console: Console) -> int:
    """Train behind a progress bar."""
    config = part_of(settings, TrainConfig)
    with TrainingBar(console, config, settings.out) as progress:
        policy = train(
            settings.data,
            settings.out,
            config,
            start=settings.policy or None,
            device=chosen_device(settings.device),
            report=progress.report,
            on_frames=progress.show_pictures,
            log=progress.log,
            held_out_error=HeldOutError(settings.data),
        )
    if settings.export:
        leave_exports(settings.out, console)
    size = sum(parameter.numel() for parameter in policy.parameters())
    say(
        console,
        f"{settings.out}: a policy of {size / 1e6:.2f} M parameters; "
        f"try: fewstep evaluate policy={settings.out} task=...",
    )
    return 0


def leave_exports(folder: str, console: Console) -> None:
    """Export a policy beside its weights, in every format that can be made here."""
    from ..engines.export import export_policy
    from ..engines.loading import possible_exports

    for format in possible_exports():
        try:
            export_policy(folder, format=format)
        except FewstepError as error:  # the training is not lost by it
            say(console, f"no export as {format}: {error}", style="yellow")


def chosen_device(device: str) -> str:
    """Return the device that is meant."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
