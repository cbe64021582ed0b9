"""`fewstep export`: demonstrations for other programs."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING
from rich.console import Console

from ...demos.formats import export_demonstrations
from ...demos.store import DemoStore
from .printing import say
from .progress import Bars


@dataclass(frozen=True)
class ExportSettings:
    """Export demonstrations to a format that others read."""

    data: str = MISSING  # a store
    out: str = MISSING  # a new place
    # lerobot (v3.0; images become videos), diffusion_policy (zarr v2, exact) or robomimic
    # (HDF5, exact)
    format: str = "lerobot"
    task: str = ""  # what is done, in words; by default what the store says


def run(settings: ExportSettings, console: Console) -> int:
    """Convert a store to another format."""
    store = DemoStore.open(settings.data)
    store.require()
    with Bars(console) as bars:
        export_demonstrations(
            store,
            settings.out,
            settings.format,
            task=settings.task,
            progress=lambda done, total: bars.update("export", total, done, "episodes"),
        )
    say(console, f"{settings.out}: {store.size}")
    return 0
