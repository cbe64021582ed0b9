"""`fewstep export`: demonstrations for other programs, policies for robots without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING
from rich.console import Console

from ...demos.formats import export_demonstrations
from ...demos.store import DemoStore
from ...envs import ConfigError
from ...envs.errors import pick
from ..ensemble_folder import require_alone
from .overrides import refuse_settings
from .printing import say
from .progress import Bars


@dataclass(frozen=True)
class ExportSettings:
    """Export demonstrations or a run's log for other programs, or a policy without torch."""

    data: str = ""  # a store
    run: str = ""  # in place of data: the log of a run, which becomes a bag of ROS 2
    policy: str = ""  # in place of data: a run folder, or a policy that comes with the package
    out: str = MISSING  # a new place; a policy may be exported into its own folder
    # of demonstrations lerobot (v3.0; images become videos), diffusion_policy (zarr v2, exact) or
    # robomimic (HDF5, exact); of a run mcap; of a policy onnx (for onnxruntime and OpenVINO) or cpp
    # (a source)
    format: str = ""
    task: str = ""  # what is done, in words; by default what the store says
    network_evaluations: int = 0  # of a policy's chunk, 0 for its own number


def run(settings: ExportSettings, console: Console) -> int:
    """Convert a store or a log to another format, or a policy to what runs without torch."""
    if sum(map(bool, (settings.data, settings.run, settings.policy))) != 1:
        raise ConfigError("`fewstep export` needs one of data=..., run=... and policy=...")
    if settings.run:
        return _export_run(settings, console)
    if settings.policy:
        refuse_settings(settings, ("task",), "a policy has no task")
        return _export_policy(settings, console)
    refuse_settings(settings, ("network_evaluations",), "demonstrations have none")
    store = DemoStore.open(settings.data)
    store.require()
    with Bars(console) as bars:
        export_demonstrations(
            store,
            settings.out,
            settings.format or "lerobot",
            task=settings.task,
            progress=lambda done, total: bars.update("export", total, done, "episodes"),
        )
    say(console, f"{settings.out}: {store.size}")
    return 0


def _export_run(settings: ExportSettings, console: Console) -> int:
    from ...envs.control.log_bag import write_bag  # with rosbags

    refuse_settings(settings, ("task", "network_evaluations"), "the log of a run has none")
    pick({"mcap": None}, settings.format or "mcap", "format of a run's log")
    count = write_bag(settings.run, settings.out)
    say(console, f"{settings.out}: {count} messages of {settings.run}")
    return 0


def _export_policy(settings: ExportSettings, console: Console) -> int:
    from ..checkpoint import load_policy  # with torch
    from ..engines.export import export_policy
    from ..monitoring.monitor import has_monitor, read_monitor

    require_alone(settings.policy, "export")
    sampler = None
    if settings.network_evaluations:
        sampler = load_policy(settings.policy).config.drawn_by.at(settings.network_evaluations)
    format = settings.format or "onnx"
    export = export_policy(settings.policy, settings.out, format, sampler)
    if has_monitor(settings.policy):
        read_monitor(settings.policy).write(settings.out)
    size = sum((Path(settings.out) / name).stat().st_size for name in export.files)
    say(
        console,
        f"{settings.out}: {', '.join(export.files)} ({size / 1e6:.1f} MB), {export.steps} network"
        f" evaluations; on {export.checked} drawn observations at most {export.max_error:.1g} of an"
        " action's range from eager PyTorch",
    )
    say(console, f"try: fewstep bench policy={settings.out}")
    return 0
