"""Tasks by name: what `task=` means on the command line."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from ..errors import RobotError, names
from ..loop import Actor
from ..modules import load_module
from ..robot import Robot
from ..spec import Spec
from ..teleop.drive import Axes, Tool
from .mujoco_versions import explain_failure


@dataclass(frozen=True)
class Task:
    """A simulated task under a short name.

    module: imported first, it registers `id`; extra: the part of the install that brings it; spec:
    "module:name" of its Spec, where the environment has none of its own; expert: "module:class" of
    its scripted expert, made with the same options; tool: of what a hand moves in teleoperation,
    where that is not the actions themselves; quick: options for pictures that cost little; cameras:
    that it has; camera_option: of the constructor, which asks for cameras by name, "" where they
    are always observed.
    """

    id: str
    module: str
    extra: str
    options: dict[str, Any] = field(default_factory=dict)
    spec: str = ""
    expert: str = ""
    tool: str = ""
    quick: dict[str, Any] = field(default_factory=dict)
    cameras: tuple[str, ...] = ()
    camera_option: str = ""


TASKS = {
    "pickplace": Task(
        "fewstep/PickPlace-v0",
        "fewstep.envs.sim.pick_place",
        "sim",
        expert="fewstep.envs.sim.pick_place_expert:PickPlaceExpert",
        tool="fewstep.envs.sim.pick_place_expert:FingertipTool",
        quick={"width": 480, "height": 360, "samples": 0},
        cameras=("front", "wrist"),
        camera_option="cameras",
    ),
    "pusht-mujoco": Task(
        "fewstep/PushT-v0", "fewstep.envs.sim.push_t", "sim", quick={"size": 384, "samples": 0}
    ),
    "pusht": Task(
        "gym_pusht/PushT-v0",
        "gym_pusht",
        "pusht",
        {"obs_type": "environment_state_agent_pos"},
        spec="fewstep.envs.sim.push_t_geometry:SPEC",
    ),
    "pusht-pixels": Task(
        "fewstep/PushTPixels-v0",
        "fewstep.envs.sim.push_t_pixels",
        "pusht",
        spec="fewstep.envs.sim.push_t_geometry:PIXELS_SPEC",
        cameras=("pixels",),
    ),
}


METAWORLD = "metaworld/"


def find_task(task: str) -> Task:
    """Return a built-in task by name, one of Meta-World's ("metaworld/push"), or any gymnasium id.

    The module of an id "module:Id" is an installed one, or lies in the current folder.
    """
    if task in TASKS:
        return TASKS[task]
    if not task.startswith(METAWORLD):
        return Task(task, "", "sim")
    module = "fewstep.envs.sim.metaworld"
    return Task(
        "fewstep/MetaWorld-v0",
        module,
        "metaworld",
        options={"name": task.removeprefix(METAWORLD)},
        expert=f"{module}:MetaWorldExpert",
    )


def make_robot(
    task: str,
    *,
    options: Mapping[str, Any] | None = None,
    hz: float | None = None,
    seconds: float | None = None,
    pictures: bool = False,
    quick: bool = False,
    relative: Sequence[str] = (),
    cameras: Sequence[str] = (),
) -> Robot:
    """Make a Robot of a task as `find_task` knows it.

    options: what the environment's constructor takes; pictures: it can render; quick: fast rather
    than fine; hz, seconds, relative: as of GymRobot; cameras: image observations that it shall
    have. RobotError says why there is no such task, why its constructor fails, or which cameras it
    has.
    """
    known = find_task(task)
    gym = _load("gymnasium", "sim")
    if known.camera_option:
        _require_cameras(task, cameras, known.cameras)
    if known.module:
        _load(known.module, known.extra)
    given = dict(known.options)
    if pictures:
        given["render_mode"] = "rgb_array"
    if quick:
        given.update(known.quick)
    given.update(options or {})
    if cameras and known.camera_option:
        named = given.get(known.camera_option, ())
        given[known.camera_option] = tuple(dict.fromkeys([*named, *cameras]))
    limit = -1 if seconds else None  # ours holds then, not the environment's
    _load_named_module(task, known.id)
    try:
        env = gym.make(known.id, disable_env_checker=True, max_episode_steps=limit, **given)
    except (gym.error.Error, ModuleNotFoundError) as error:
        raise _unknown(task, error) from error
    except Exception as error:  # whatever the constructor of another's environment raises
        raise _failed(task, options, error) from error
    from .gym_robot import GymRobot

    robot = GymRobot(env, spec=_find_spec(known), hz=hz, seconds=seconds, relative=relative)
    _require_cameras(task, cameras, robot.spec.images)
    return robot


def _find_spec(known: Task) -> Spec | None:
    """Return the Spec that a built-in task has beside its environment."""
    if not known.spec:
        return None
    module, name = known.spec.split(":")
    return getattr(import_module(module), name)


def _require_cameras(task: str, cameras: Sequence[str], having: Collection[str]) -> None:
    """Raise RobotError, which lists the cameras of a task, where it lacks one of these."""
    if isinstance(cameras, str):
        raise RobotError(f"cameras must be a list, as in cameras=[{cameras}]")
    for camera in cameras:
        if camera not in having:
            raise RobotError(f"task {task!r} has no camera {camera!r}; valid: {names(having)}")


def _load_named_module(task: str, environment: str) -> None:
    """Import the module of an id "module:Id"; RobotError where it cannot be."""
    module, colon, _ = environment.partition(":")
    if not colon:
        return
    try:
        load_module(module)
    except RobotError as error:
        raise _unknown(task, error) from error


def _failed(task: str, options: Mapping[str, Any] | None, error: Exception) -> RobotError:
    """Return what is said where a constructor fails."""
    reason = _in_one_line(error)
    if isinstance(error, TypeError) and "render_mode" in reason:
        return RobotError(f"task {task!r} draws no pictures: {error}")
    with_options = f" with options={dict(options)}" if options else ""
    return RobotError(f"task {task!r} cannot be made{with_options}: {reason}{_versions(error)}")


def _in_one_line(error: Exception) -> str:
    """Return kind and message of an error, without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _unknown(task: str, error: Exception) -> RobotError:
    """Return what is said where a task does not exist."""
    valid = f"built in: {names(TASKS)}; or {METAWORLD}<name>; or any gymnasium id"
    return RobotError(f"no task {task!r}: {error}{_versions(error)}; {valid}")


def _versions(error: Exception) -> str:
    explanation = explain_failure(error)
    return f" ({explanation})" if explanation else ""


def make_expert(task: str, expert: str = "") -> Actor:
    """Make the scripted expert of a task; RobotError where it has none.

    expert: "module:class" of one's own, installed or in the current folder, made without arguments.
    """
    if expert:
        return _make_own_expert(expert)
    known = find_task(task)
    if not known.expert:
        having = [name for name, described in TASKS.items() if described.expert]
        raise RobotError(
            f"task {task!r} has no scripted expert; these have: "
            f"{names([*having, f'{METAWORLD}<name>'])}; expert=module:class names one of your own"
        )
    module, name = known.expert.split(":")
    return getattr(_load(module, known.extra), name)(**known.options)


def _make_own_expert(expert: str) -> Actor:
    module, colon, name = expert.partition(":")
    if not colon:
        raise RobotError(f"expert={expert} must be module:class, as in my_env:Expert")
    make: Any = getattr(load_module(module), name, None)
    if not callable(make):
        raise RobotError(f"module {module!r} has no class {name!r}")
    try:
        made: Any = make()
    except Exception as error:
        raise RobotError(f"expert {expert!r} could not be made: {_in_one_line(error)}") from error
    lacking = [part for part in ("reset", "act", "sent") if not hasattr(made, part)]
    if lacking:
        raise RobotError(f"expert {expert!r} is no Actor: it lacks {names(lacking)}")
    return made


def make_tool(task: str, spec: Spec) -> Tool:
    """Make what a hand moves in a task, or in a robot of another name."""
    module, _, name = find_task(task).tool.partition(":")
    if not module:
        return Axes(spec)
    return getattr(import_module(module), name)()


def _load(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise RobotError(
            f"{error.name} is not installed: pip install 'fewstep[{extra}]'"
        ) from error
