"""Robots by name: what `robot=` means on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from ..errors import FewstepError, RobotError, names
from ..modules import load_module
from ..robot import Robot
from .simulated_arm import SimulatedArm

GROUP = "fewstep.robots"  # entry points: name = "module:callable", which makes a Robot
PARTS = ("spec", "clock", "reset", "observe", "command", "outcome", "close")  # of every Robot


def make_live(name: str, options: Mapping[str, Any]) -> Robot:
    """A Robot on the wall clock.

    name: "simulated", an entry point of the group fewstep.robots, "module:callable", or a task, which then lives in
    real time; options: what its maker takes. A module is an installed one, or lies in the current folder.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    try:
        made = _made(name, options, found)
    except FewstepError:
        raise
    except TypeError as error:
        raise RobotError(f"robot {name!r} does not take {dict(options)}: {error}") from error
    except Exception as error:
        raise RobotError(
            f"robot {name!r} could not be made: {type(error).__name__}: {error}"
        ) from error
    if lacking := [part for part in PARTS if not hasattr(made, part)]:
        raise RobotError(
            f"robot {name!r} made {made!r}, which is no Robot: it lacks {names(lacking)}"
        )
    return made


def is_driver(name: str) -> bool:
    """Whether a robot of this name is driven by its own code, and no simulated task."""
    installed = {point.name for point in entry_points(group=GROUP)}
    return name == "simulated" or name in installed or (":" in name and _named(name)[0] is not None)


def _made(name: str, options: Mapping[str, Any], found: Mapping[str, Any]) -> Any:
    if name == "simulated":
        return SimulatedArm(**options)
    if name in found:
        return found[name].load()(**options)
    lacks = ""
    if ":" in name:
        maker, lacks = _named(name)
        if maker is not None:
            return maker(**options)
    from ..sim.real_time import Live
    from ..sim.registry import make_robot

    try:
        return Live(make_robot(name, **options))  # pyright: ignore[reportArgumentType]
    except RobotError as error:
        valid = f"simulated, module:callable, a task, or one that is installed ({names(found)})"
        raise RobotError(f"no robot {name!r}: {lacks}{error}; valid: {valid}") from error


def _named(name: str) -> tuple[Any, str]:
    """What "module:callable" names; None where it may be a task, and what is lacking, in words."""
    module, _, maker = name.partition(":")
    try:
        loaded = load_module(module)
    except RobotError as error:
        raise RobotError(f"robot {name!r} could not be made: {error}") from error
    made = getattr(loaded, maker, None)
    if callable(made):
        return made, ""
    return None, f"{loaded.__file__ or module} has no callable {maker!r}; "
