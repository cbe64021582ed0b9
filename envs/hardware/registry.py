"""Robots by name: what `robot=` means on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..errors import FewstepError, RobotError, names
from ..modules import load_module
from ..robot import Robot
from .lerobot_arm import LeRobotArm
from .simulated_arm import SimulatedArm

GROUP = "fewstep.robots"  # entry points: name = "module:callable", which makes a Robot
ROS2 = "ros2"
LEROBOT = "lerobot:"  # before the type of an arm as lerobot registers it
ROBOT_PARTS = ("spec", "clock", "reset", "observe", "command", "outcome", "close")  # of every Robot


def make_live(name: str, options: Mapping[str, Any]) -> Robot:
    """Return a Robot on the wall clock.

    name: "simulated", "ros2", "lerobot:" and a type of lerobot's, an entry point of the group
    fewstep.robots, "module:callable", or a task, which then lives in real time; options: what its
    maker takes. A module is an installed one, or lies in the current folder. Raises RobotError
    where there is none, or its maker fails.
    """
    installed = _installed_robots()
    try:
        robot = _make(name, options, installed)
    except FewstepError:
        raise
    except TypeError as error:
        raise RobotError(f"robot {name!r} does not take {dict(options)}: {error}") from error
    except Exception as error:
        raise RobotError(
            f"robot {name!r} could not be made: {type(error).__name__}: {error}"
        ) from error
    lacking = [part for part in ROBOT_PARTS if not hasattr(robot, part)]
    if lacking:
        raise RobotError(
            f"robot {name!r} made {robot!r}, which is no Robot: it lacks {names(lacking)}"
        )
    return robot


def is_driver(name: str) -> bool:
    """Return whether a robot of this name is driven by its own code, and no simulated task."""
    if name in ("simulated", ROS2) or name.startswith(LEROBOT) or name in _installed_robots():
        return True
    if ":" not in name:
        return False
    maker, _ = _find_maker(name)
    return maker is not None


def _installed_robots() -> dict[str, EntryPoint]:
    installed = {}
    for point in entry_points(group=GROUP):
        installed[point.name] = point
    return installed


def _make(name: str, options: Mapping[str, Any], installed: Mapping[str, EntryPoint]) -> Any:
    if name == "simulated":
        return SimulatedArm(**options)
    if name in installed:
        return installed[name].load()(**options)
    if name == ROS2:
        from .ros2_robot import Ros2Robot

        return Ros2Robot(**options)
    if name.startswith(LEROBOT):
        return LeRobotArm(name.removeprefix(LEROBOT), **options)
    lacks = ""
    if ":" in name:
        maker, lacks = _find_maker(name)
        if maker is not None:
            return maker(**options)
    from ..sim.real_time import Live
    from ..sim.registry import make_robot

    try:
        return Live(make_robot(name, **options))  # pyright: ignore[reportArgumentType]
    except RobotError as error:
        valid = "simulated, ros2, lerobot:<type>, module:callable, a task, or one that is installed"
        if installed:
            valid += f" ({names(installed)})"
        raise RobotError(f"no robot {name!r}: {lacks}{error}; valid: {valid}") from error


def _find_maker(name: str) -> tuple[Any, str]:
    """Return what "module:callable" names, or None and what is lacking: it may be a task then."""
    module, _, attribute = name.partition(":")
    try:
        loaded = load_module(module)
    except RobotError as error:
        raise RobotError(f"robot {name!r} could not be made: {error}") from error
    maker = getattr(loaded, attribute, None)
    if callable(maker):
        return maker, ""
    return None, f"{loaded.__file__ or module} has no callable {attribute!r}; "
