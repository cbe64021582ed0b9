"""`fewstep import`: demonstrations of other formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING
from rich.console import Console

from ...demos.formats import import_demonstrations
from ...demos.formats.diffusion_policy import import_pusht
from ...demos.formats.source import Choice
from ...demos.store import DemoStore
from ...envs import ConfigError


@dataclass(frozen=True)
class Import:
    """Import demonstrations of another format; what lies at `source` says which.

    source: a LeRobot v3.0 dataset, a replay buffer of Diffusion Policy (zarr, folder or zip), an HDF5 file of robomimic
    or robosuite, a bag of ROS 1 or 2, or MCAP. data: the store to make.
    keys: observations to take that are no images; cameras: images to take, [] for none; by default all.
    hz: rate of the frames where the source does not say it, and to which a bag is resampled. fields: a YAML file that
    maps topics to fields, for bags. images: jpeg or lossless, by default JPEG for videos.
    task=pusht turns human Push-T states into what gym-pusht observes.
    """

    source: str = MISSING
    data: str = MISSING
    task: str = ""
    keys: Any = None
    cameras: Any = None
    hz: float = 0.0
    fields: str = ""
    images: str = ""


def import_(c: Import, console: Console) -> int:
    """Convert another format to a store."""
    if c.task == "pusht":
        import_pusht(c.source, c.data)
    elif c.task:
        raise ConfigError(f"no conversion for task {c.task!r}; valid: pusht, or none")
    else:
        choice = Choice(
            _list("keys", c.keys), _list("cameras", c.cameras), c.hz, c.fields, c.images
        )
        import_demonstrations(c.source, c.data, choice)
    store = DemoStore.open(c.data)
    console.print(f"{c.data}: {store.size} at {store.spec.policy_hz:g} Hz", markup=False)
    console.print(
        "observations: " + ", ".join(f"{k} {f.shape}" for k, f in store.spec.observations.items())
    )
    return 0


def _list(name: str, given: Any) -> tuple[str, ...] | None:
    """A list of names, or None."""
    if given is not None and not (
        isinstance(given, list) and all(isinstance(x, str) for x in given)
    ):
        raise ConfigError(f"{name} must be a list, as in {name}=[a,b], not {given!r}")
    return None if given is None else tuple(given)
