"""`fewstep export`: demonstrations for other programs."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING
from rich.console import Console

from ...demos.formats import export_demonstrations
from ...demos.store import DemoStore


@dataclass(frozen=True)
class Export:
    """Export demonstrations to a format that others read.

    data: a store; out: a new place. format: lerobot (v3.0; images become videos), diffusion_policy (zarr v2, exact), or
    robomimic (HDF5, exact).
    task: what is done, in words, for lerobot; by default what the store says.
    """

    data: str = MISSING
    out: str = MISSING
    format: str = "lerobot"
    task: str = ""


def export(c: Export, console: Console) -> int:
    """Convert a store to another format."""
    store = DemoStore.open(c.data)
    store.require()
    export_demonstrations(store, c.out, c.format, **({"task": c.task} if c.task else {}))
    console.print(f"{c.out}: {store.size}", markup=False)
    return 0
