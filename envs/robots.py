"""Robots by name: what `robot=` means on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from .errors import RobotError, names
from .robot import Robot
from .simulated_arm import SimulatedArm

GROUP = "fewstep.robots"  # entry points: name = "module:callable", which makes a Robot


def make_live(name: str, options: Mapping[str, Any]) -> Robot:
    """A Robot on the wall clock.

    name: "simulated", an entry point of the group fewstep.robots, "module:callable", or a task, which then lives in
    real time; options: what its maker takes.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    try:
        if name == "simulated":
            return SimulatedArm(**options)
        if name in found:
            return found[name].load()(**options)
        module, colon, maker = name.partition(":")
        if colon and (made := getattr(_import(module), maker, None)) is not None and callable(made):
            return made(**options)  # pyright: ignore[reportReturnType]
    except TypeError as error:
        raise RobotError(f"robot {name!r} does not take {dict(options)}: {error}") from error
    from .live import Live
    from .tasks import make_robot

    try:
        return Live(make_robot(name, **options))  # pyright: ignore[reportArgumentType]
    except RobotError as error:
        valid = f"simulated, module:callable, a task, or one that is installed ({names(found)})"
        raise RobotError(f"no robot {name!r}: {error}; valid: {valid}") from error


def _import(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise RobotError(f"{module} needs {error.name}, which is not installed") from error
        return None
