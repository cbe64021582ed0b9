"""`fewstep record`: demonstrations by an expert, a policy or a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.console import Console

from ...demos.episode import Episode
from ...demos.recording.experts import open_writable, record_expert
from ...demos.store import DemoStore
from ...envs import Actor, ConfigError, Outcome, Spec
from ...envs.cameras.camera_config import camera_names
from ...envs.sim.registry import make_expert, make_robot
from ...envs.versions import versions
from ..serving.teleop_session import TeleopSession
from .overrides import refuse_settings
from .printing import print_raw, say
from .progress import Bars

OF_ACTORS = ("policy", "expert", "repeats", "failures")  # that are no person
OF_TASKS = ("task_options", "hz", "seconds")


@dataclass(frozen=True)
class RecordSettings:
    """Record demonstrations: the task's scripted expert acts, or a policy, or a person.

    With teleop= a person drives, says when an episode begins, and judges it. A robot that is no
    simulation moves within its limits only, as in `fewstep run`.
    """

    data: str = MISSING  # the store, made where there is none, else appended to
    # a built-in task, metaworld/<name>, or any gymnasium id, also module:Id
    task: str = "pickplace"
    # what the environment's constructor takes: "task.options={size: 2}"
    task_options: dict[str, Any] = field(default_factory=dict)
    # of a simulated task, to record as images: [front,wrist]; of a robot as in `fewstep run`
    cameras: Any = None
    expert: str = ""  # "module:class" of your own, in place of the task's
    episodes: int = 100  # to keep; after twice as many starts it gives up
    seed: int = -1  # of the first start; -1 for the one after those that were tried
    repeats: int = 1  # episodes from each start; an expert with several ways shows them in turn
    policy: str = ""  # a policy that acts in place of the expert
    failures: bool = False  # keep unsuccessful episodes too
    images: str = ""  # jpeg or lossless; by default jpeg, and a store goes on as it began
    # page (in a browser), keyboard, gamepad, spacemouse, or a leader arm, named as robot= is
    teleop: str = ""
    # what a leader arm's maker takes: leader.port=/dev/ttyACM1
    leader: dict[str, Any] = field(default_factory=dict)
    port: int = 8007  # of the page
    robot: str = ""  # what a person drives in place of the task; as in `fewstep run`
    # what the robot's maker takes: options.x=1
    options: dict[str, Any] = field(default_factory=dict)
    limits: str = ""  # a YAML file that tightens the robot's limits
    unlimited: tuple[str, ...] = ()  # actions that go without limits
    hz: float | None = None  # [1/s] control rate, where the environment does not say it
    seconds: float | None = None  # [s] of an episode, at most; by default as the environment says
    out: str = "out/record"  # log of the control process of a robot that is no simulation


def run(settings: RecordSettings, console: Console) -> int:
    """Record episodes into a store."""
    if settings.teleop:
        return _record_person(settings, console)
    if settings.robot:
        raise ConfigError(
            "robot= is for recordings by hand: "
            "teleop=keyboard, gamepad, spacemouse, or a leader arm"
        )
    robot = make_robot(
        settings.task,
        options=settings.task_options,
        hz=settings.hz,
        seconds=settings.seconds,
        cameras=() if settings.cameras is None else camera_names(settings.cameras),
    )
    notes: dict[str, Any] = {
        "task": settings.task,
        "actor": settings.policy or settings.expert or "scripted expert",
        **versions(),
    }
    if settings.task_options:
        notes["task_options"] = settings.task_options
    with Bars(console) as bars:

        def heard(outcome: Outcome, episode: Episode | None) -> None:
            bars.advance("recording", settings.episodes, int(episode is not None))

        recorded = record_expert(
            robot,
            _actor(settings),
            Path(settings.data),
            settings.episodes,
            notes=notes,
            seed=settings.seed,
            repeats=settings.repeats,
            failures=settings.failures,
            images=settings.images,
            on_episode=heard,
        )
    say(
        console,
        f"{recorded.kept} kept, {recorded.failed} failed; {settings.data} now has {recorded.size}",
    )
    return 0 if recorded.kept else 1


def _actor(settings: RecordSettings) -> Actor:
    if not settings.policy:
        return make_expert(settings.task, settings.expert)
    from ..engines.loading import load_engine  # with torch, which a person at a robot goes without
    from ..serving.runners import InlineRunner, make_agent

    engine = load_engine(settings.policy)
    return make_agent(engine, InlineRunner(engine))


def _record_person(settings: RecordSettings, console: Console) -> int:
    refuse_settings(settings, OF_ACTORS, f"teleop={settings.teleop} has a person act")
    if settings.robot:
        refuse_settings(settings, OF_TASKS, f"robot={settings.robot} is no simulated task")
    options = dict(settings.options)
    if not settings.robot:
        of_task = {"options": settings.task_options, "hz": settings.hz, "seconds": settings.seconds}
        options |= {name: value for name, value in of_task.items() if value}
    session = TeleopSession(
        settings.robot or settings.task,
        options,
        settings.teleop,
        settings.limits,
        settings.unlimited,
        settings.port,
        out=settings.out,
        cameras=settings.cameras,
        leader=settings.leader,
    )
    notes = {"robot": session.name, "actor": settings.teleop}

    def make_store(spec: Spec) -> DemoStore:
        return open_writable(Path(settings.data), spec, notes, settings.images)

    def log(text: str) -> None:
        print_raw(console, text)

    kept = session.record(make_store, settings.episodes, settings.seed, log)
    return 0 if kept else 1
