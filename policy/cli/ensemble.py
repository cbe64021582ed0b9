"""`fewstep ensemble`: one policy of several trainings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING
from rich.console import Console

from ..ensemble_folder import make_ensemble
from .printing import say


@dataclass(frozen=True)
class EnsembleSettings:
    """Make one policy of several trainings: a random one of them answers each request."""

    # run folders of one recipe, trained with different seeds: [out/first,out/second]
    policies: tuple[str, ...] = MISSING
    out: str = MISSING  # the new policy's folder, which holds copies of all


def run(settings: EnsembleSettings, console: Console) -> int:
    """Copy the policies into one, and say what it is."""
    members = make_ensemble(settings.policies, Path(settings.out))
    say(
        console,
        f"{settings.out}: a policy of {len(members)} trainings, which costs what one costs; "
        f"try: fewstep evaluate policy={settings.out} task=...",
    )
    return 0
