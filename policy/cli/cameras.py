"""`fewstep cameras`: what cameras are there, what they see, and a file that names them."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...envs import ConfigError, RobotError
from ...envs.atomic_files import new_file, write_file
from ...envs.cameras.camera_config import CameraConfig, read_cameras
from ...envs.cameras.camera_processes import CameraProcesses
from ...envs.cameras.devices import find_devices
from ...envs.cameras.page import CameraPage
from ...envs.cameras.rings import RING_SECONDS, PictureRing
from ...envs.schema import to_plain
from .printing import say

NOTHING_FOUND = (
    "no camera is plugged in that Linux knows (/dev/video*); cameras={front: film.mp4} shows a "
    "video file, {front: simulated} a drawn picture, and {front: module:callable} one of your own"
)


@dataclass(frozen=True)
class CamerasSettings:
    """Show what the plugged-in cameras see, and write a file that gives them names.

    The file is what `record` and `run` take as cameras=. Its names are given on the page that
    opens, or by names=.
    """

    cameras: Any = None  # by default all that are plugged in; a YAML file, or {front: /dev/video0}
    # of the cameras in the order in which they are listed, which writes the file without a page
    names: tuple[str, ...] = ()
    width: int = 640  # [px] of the pictures that plugged-in cameras are asked for
    height: int = 480  # [px] of them
    hz: float = 30.0  # [1/s] how many of them
    out: str = "cameras.yaml"  # the file to write
    port: int = 8009  # of the page; 0 for any that is free


def run(settings: CamerasSettings, console: Console) -> int:
    """List, then show until Ctrl-C, or write."""
    cameras, models = _find(settings)
    with ExitStack() as stack:
        opened: dict[str, CameraProcesses] = {}
        for name, config in cameras.items():
            try:
                opened[name] = CameraProcesses({name: config})
            except RobotError as error:
                say(console, str(error), style="yellow")
                continue
            stack.callback(opened[name].close)
        if not opened:
            raise RobotError("none of these cameras gives pictures")
        time.sleep(RING_SECONDS)
        cameras = {name: cameras[name] for name in opened}
        rings = {name: processes.rings[name] for name, processes in opened.items()}
        console.print(_table(cameras, rings, models))
        if settings.names:
            named = _named(settings.names, cameras)
            say(console, _write(settings.out, cameras, named, replace_it=False))
        else:
            _show(settings, console, cameras, opened, models)
    return 0


def _find(settings: CamerasSettings) -> tuple[dict[str, CameraConfig], dict[str, str]]:
    """Return the cameras by a name each, and what is known of their models."""
    if settings.cameras is not None:
        return read_cameras(settings.cameras), {}
    cameras: dict[str, Any] = {}
    models = {}
    for k, device in enumerate(find_devices()):
        cameras[f"camera{k}"] = {
            "source": device.source,
            "width": settings.width,
            "height": settings.height,
            "hz": settings.hz,
        }
        models[f"camera{k}"] = device.model
    if not cameras:
        raise RobotError(NOTHING_FOUND)
    return read_cameras(cameras), models


def _table(
    cameras: dict[str, CameraConfig], rings: dict[str, PictureRing], models: dict[str, str]
) -> Table:
    table = Table("camera", "source", "model", "pictures")
    for name, config in cameras.items():
        given = f"{config.width}x{config.height} at {rings[name].rate():.1f} Hz"
        cells = (name, config.source, models.get(name, ""), given)
        table.add_row(*map(Text, cells))  # as they are: a file may be called [red]
    return table


def _show(
    settings: CamerasSettings,
    console: Console,
    cameras: dict[str, CameraConfig],
    opened: dict[str, CameraProcesses],
    models: dict[str, str],
) -> None:
    described = {}
    for name, config in cameras.items():
        described[name] = " ".join(filter(None, [models.get(name), config.source]))
    written: list[str] = []  # by this page, which may write it again

    def write(names: dict[str, str]) -> str:
        said = _write(settings.out, cameras, names, replace_it=bool(written))
        written.append(said)
        return said

    def look() -> dict[str, str]:
        troubles: dict[str, str] = {}
        for processes in opened.values():
            for text in processes.look():
                say(console, text, style="yellow")
            troubles |= processes.troubles
        return troubles

    rings = {name: processes.rings[name] for name, processes in opened.items()}
    page = CameraPage(rings, described, settings.port, write, look)
    try:
        say(console, f"look at {page.address} (Ctrl-C ends it)")
        page.serve()
    except KeyboardInterrupt:
        say(console, "stopped")
    finally:
        page.close()


def _named(names: tuple[str, ...], cameras: dict[str, CameraConfig]) -> dict[str, str]:
    if len(names) != len(cameras):
        raise ConfigError(f"names= has {len(names)}, and there are {len(cameras)} cameras")
    return dict(zip(cameras, names, strict=True))


def _write(
    out: str, cameras: dict[str, CameraConfig], names: dict[str, str], replace_it: bool
) -> str:
    """Write cameras under their names; ConfigError where that cannot be."""
    if not names:
        raise ConfigError("give at least one camera a name")
    if len(set(names.values())) < len(names):
        raise ConfigError("cameras need names that differ")
    table = {}
    for camera, name in names.items():
        plain = to_plain(cameras[camera])
        default = to_plain(replace(CameraConfig(""), width=0, height=0, hz=0.0))
        table[name] = {key: value for key, value in plain.items() if value != default[key]}
    read_cameras(table)
    content = yaml.safe_dump(table, sort_keys=False).encode()
    if replace_it:
        write_file(Path(out), content)
    else:
        with new_file(Path(out)) as beside:
            beside.write_bytes(content)
    return f"{out} is written: cameras={out} for `fewstep record` and `fewstep run`"
