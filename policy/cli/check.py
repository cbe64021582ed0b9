"""`fewstep check`: the dataset doctor."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING
from rich.console import Console
from rich.table import Table

from ...demos.doctor import check as doctor
from ...demos.store import DemoStore

SHOWN = 5  # episodes of a finding that are named


@dataclass(frozen=True)
class Check:
    """Look for what is wrong with demonstrations; exit code 1 where something would spoil the training.

    horizon: chunk length of the policy to train; shorter episodes are reported.
    """

    data: str = MISSING
    horizon: int = 16


def check(c: Check, console: Console) -> int:
    """Print the findings of the dataset doctor."""
    store = DemoStore.open(c.data)
    findings = doctor.check(store, c.horizon)
    table = Table("level", "key", "episodes", "frame", "finding")
    for f in findings:
        episodes = [str(episode) for episode, _ in f.places[:SHOWN]] + ["…"] * (
            len(f.places) > SHOWN
        )
        frame = "" if f.frame is None else str(f.frame)
        style = "red" if f.level == "error" else "yellow"
        table.add_row(f.level, f.key, ", ".join(episodes), frame, f.message, style=style)
    if findings:
        console.print(table)
    known = [s for s in store.success if s is not None]
    judged = f"{sum(known)} of {len(known)} judged ones succeeded" if known else "none judged"
    console.print(
        f"{len(store)} episodes ({judged}), {store.frames} frames, {len(findings)} findings"
    )
    return int(doctor.broken(findings))
