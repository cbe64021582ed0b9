"""`fewstep check`: the dataset doctor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import MISSING
from rich.console import Console
from rich.table import Table

from ...demos.doctor.check import Finding, broken, check
from ...demos.store import DemoStore

SHOWN = 5  # episodes of a finding that are named
STYLES = {"error": "red", "warning": "yellow"}


@dataclass(frozen=True)
class CheckSettings:
    """Look for what is wrong with demonstrations, and say what to do about it.

    The exit code is 1 where something would spoil the training.
    """

    data: str = MISSING  # a store of demonstrations
    horizon: int = 16  # chunk length of the policy to train; shorter episodes are reported


def run(settings: CheckSettings, console: Console) -> int:
    """Print the findings of the dataset doctor."""
    store = DemoStore.open(settings.data)
    findings = check(store, settings.horizon)
    if findings:
        console.print(_table(findings))
    judged = [success for success in store.success if success is not None]
    verdicts = f"{sum(judged)} of {len(judged)} judged ones succeeded" if judged else "none judged"
    found = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
    console.print(f"{len(store)} episodes ({verdicts}), {store.frames} frames, {found}")
    return int(broken(findings))


def _table(findings: Sequence[Finding]) -> Table:
    table = Table("level", "key", "episodes", "frame", "finding")
    for finding in findings:
        episodes = [str(episode) for episode, _ in finding.places[:SHOWN]]
        if len(finding.places) > SHOWN:
            episodes.append("…")
        frame = "" if finding.frame is None else str(finding.frame)
        table.add_row(
            finding.level,
            finding.key,
            ", ".join(episodes),
            frame,
            finding.message,
            style=STYLES[finding.level],
        )
    return table
