"""`fewstep record`: demonstrations by an expert, a policy or a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.console import Console

from ...demos.episode import Episode
from ...demos.recording.recorder import record as record_episodes
from ...demos.recording.start_seeds import Starts
from ...demos.storage.images import ENCODINGS
from ...demos.store import DemoStore
from ...envs import ConfigError, Outcome, Spec
from ...envs.errors import pick
from ...envs.sim.registry import make_expert, make_robot
from ..engines.loading import load_engine
from ..serving.runners import InlineRunner, make_agent
from .tables import bar, versions
from .teleop_session import TeleopSession


@dataclass(frozen=True)
class Record:
    """Record demonstrations: the task's scripted expert acts, or a policy, or a person.

    teleop: page (in a browser, at `port`), keyboard, gamepad, spacemouse, or a leader arm, named as robot= is; a person
    then drives `robot` (by default the task, in real time), says when an episode begins, and judges it. A robot that is
    no simulation moves within its limits only; limits, unlimited: as in `fewstep run`; options: what its maker takes; out:
    the log of its control process.
    data: the store, made where there is none, else appended to. episodes: how many to keep; unsuccessful ones are
    dropped unless failures=true, and after twice as many starts it gives up. policy: a run folder whose policy acts in
    place of the expert. seed: of the first start, by default one after those that were tried for the store.
    repeats: episodes from each start; an expert with several ways shows them in turn. images: jpeg or lossless,
    by default jpeg; a store goes on as it began.
    """

    data: str = MISSING
    task: str = "pickplace"
    episodes: int = 100
    seed: int = -1
    repeats: int = 1
    policy: str = ""
    failures: bool = False
    images: str = ""
    teleop: str = ""
    port: int = 8007
    robot: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    limits: str = ""
    unlimited: tuple[str, ...] = ()
    hz: float | None = None
    seconds: float | None = None
    out: str = "out/record"


def record(c: Record, console: Console) -> int:
    """Record episodes into a store."""
    for name in ("episodes", "repeats"):
        if getattr(c, name) < 1:
            raise ConfigError(f"{name} must be at least 1, not {getattr(c, name)}")
    if c.teleop:
        return _by_hand(c, console)
    if c.robot:
        raise ConfigError(
            "robot= is for recordings by hand: teleop=keyboard, gamepad, spacemouse, or a leader arm"
        )
    robot: Any = make_robot(c.task, hz=c.hz, seconds=c.seconds)
    if c.policy:
        engine = load_engine(c.policy)
        actor = make_agent(engine, InlineRunner(engine))
    else:
        actor = make_expert(c.task)
    notes = {"task": c.task, "actor": c.policy or "scripted expert", **versions()}
    with _writable(Path(c.data), robot.spec, notes, c.images) as store:
        given = (c.seed + i // c.repeats for i in count())
        seeds = given if c.seed >= 0 else Starts(store).go_on(actor, c.repeats)
        failed: list[Outcome] = []
        with bar(console) as progress:
            line = progress.add_task("recording", total=c.episodes)

            def heard(outcome: Outcome, stored: Episode | None) -> None:
                failed.extend([] if outcome.success else [outcome])
                progress.advance(line, stored is not None)

            kept = record_episodes(
                robot, actor, store, islice(seeds, 2 * c.episodes), float("inf"),
                keep=lambda o: c.failures or bool(o.success), progress=heard, most=c.episodes,
            )  # fmt: skip
        console.print(
            f"{kept} kept, {len(failed)} failed; {c.data} now has {store.size}", markup=False
        )
    return 0 if kept else 1


def _by_hand(c: Record, console: Console) -> int:
    session = TeleopSession(
        c.robot or c.task, c.options, c.teleop, c.limits, c.unlimited, c.port, out=c.out
    )
    notes = {"robot": session.name, "actor": c.teleop}

    def make(spec: Spec) -> DemoStore:
        return _writable(Path(c.data), spec, notes, c.images)

    kept = session.record(make, c.episodes, c.seed, console)
    return 0 if kept else 1


def _writable(path: Path, spec: Any, notes: dict[str, Any], images: str) -> DemoStore:
    if images:
        pick(ENCODINGS, images, "encoding of images")
    if not path.exists():
        return DemoStore.create(path, spec, notes, images or "jpeg")
    store = DemoStore.open(path, "a")
    if images not in ("", store.images):
        store.close()
        raise ConfigError(
            f"{path} keeps its images as {store.images}: leave out images={images}, or record elsewhere"
        )
    return store
