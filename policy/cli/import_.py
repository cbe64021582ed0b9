"""`fewstep import`: demonstrations of other formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING
from rich.console import Console

from ...demos.formats import import_demonstrations
from ...demos.formats.choosing import Choice
from ...demos.store import DemoStore
from .printing import say
from .progress import Bars
from .spec import say_proposal


@dataclass(frozen=True)
class ImportSettings:
    """Import demonstrations of another format; what lies at `source` says which.

    A LeRobot dataset (v2.0, v2.1 or v3.0), a replay buffer of Diffusion Policy (zarr, folder or
    zip), an HDF5 file of robomimic or robosuite, a bag of ROS 1 or 2, or MCAP.
    """

    source: str = MISSING  # a file or folder
    data: str = MISSING  # the store to make
    # what gym-pusht observes, of human Push-T: pusht (its states) or pusht-pixels (its pictures)
    task: str = ""
    keys: Any = None  # observations to take that are no images; by default the usual ones
    cameras: Any = None  # images to take, [] for none; by default the usual ones
    # [1/s] where the source does not say it, 0 for what is usual; to which a bag is resampled
    hz: float = 0.0
    fields: str = ""  # a YAML file that maps topics to fields, for bags
    images: str = ""  # jpeg or lossless; by default JPEG for videos, else lossless


def run(settings: ImportSettings, console: Console) -> int:
    """Convert another format to a store."""
    choice = Choice(settings.keys, settings.cameras, settings.hz, settings.fields, settings.images)
    with Bars(console) as bars:
        import_demonstrations(
            settings.source,
            settings.data,
            choice,
            task=settings.task,
            progress=lambda done, total: bars.update("import", total, done, "episodes"),
        )
    store = DemoStore.open(settings.data)
    say(console, f"{settings.data}: {store.size} at {store.spec.policy_hz:g} Hz")
    shapes = [f"{key} {field.shape}" for key, field in store.spec.observations.items()]
    say(console, "observations: " + ", ".join(shapes))
    say_proposal(console, store.spec, f"data={settings.data}")
    return 0
