"""The verbs that make demonstrations and look at them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.console import Console
from rich.table import Table

from ...demos.doctor import check as doctor
from ...demos.episode import Episode
from ...demos.formats import export_demonstrations, import_demonstrations
from ...demos.formats.diffusion_policy import import_pusht
from ...demos.formats.source import Choice
from ...demos.recording.recorder import record as record_episodes
from ...demos.recording.start_seeds import Starts
from ...demos.storage.images import ENCODINGS
from ...demos.store import DemoStore
from ...envs import ConfigError, Outcome, Spec
from ...envs.errors import pick
from ...envs.sim.registry import make_expert, make_robot
from ..checkpoint import load_policy
from ..serving.runners import InlineRunner, agent
from .sitting import Sitting
from .tables import bar, versions


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
    actor = agent(p := load_policy(c.policy), InlineRunner(p)) if c.policy else make_expert(c.task)
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
    sitting = Sitting(
        c.robot or c.task, c.options, c.teleop, c.limits, c.unlimited, c.port, out=c.out
    )
    notes = {"robot": sitting.name, "actor": c.teleop}

    def make(spec: Spec) -> DemoStore:
        return _writable(Path(c.data), spec, notes, c.images)

    kept = sitting.record(make, c.episodes, c.seed, console)
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


@dataclass(frozen=True)
class Export:
    """Export demonstrations to a format that others read.

    data: a store; out: a new place. format: lerobot (v3.0; images become videos), diffusion_policy (zarr v2, exact), or
    robomimic (HDF5, exact).
    task: what is done, in words, for lerobot; by default what the store says.
    """

    data: str = MISSING
    out: str = MISSING
    format: str = "lerobot"
    task: str = ""


def export(c: Export, console: Console) -> int:
    """Convert a store to another format."""
    store = DemoStore.open(c.data)
    store.require()
    export_demonstrations(store, c.out, c.format, **({"task": c.task} if c.task else {}))
    console.print(f"{c.out}: {store.size}", markup=False)
    return 0


def _list(name: str, given: Any) -> tuple[str, ...] | None:
    """A list of names, or None."""
    if given is not None and not (
        isinstance(given, list) and all(isinstance(x, str) for x in given)
    ):
        raise ConfigError(f"{name} must be a list, as in {name}=[a,b], not {given!r}")
    return None if given is None else tuple(given)


SHOWN = 5  # episodes of a finding that are named


@dataclass(frozen=True)
class Check:
    """Look for what is wrong with demonstrations; exit code 1 where something would spoil the training.

    horizon: chunk length of the policy to train; shorter episodes are reported.
    """

    data: str = MISSING
    horizon: int = 16


def check(c: Check, console: Console) -> int:
    """Print the findings of the dataset doctor."""
    store = DemoStore.open(c.data)
    findings = doctor.check(store, c.horizon)
    table = Table("level", "key", "episodes", "frame", "finding")
    for f in findings:
        episodes = [str(episode) for episode, _ in f.places[:SHOWN]] + ["…"] * (
            len(f.places) > SHOWN
        )
        frame = "" if f.frame is None else str(f.frame)
        style = "red" if f.level == "error" else "yellow"
        table.add_row(f.level, f.key, ", ".join(episodes), frame, f.message, style=style)
    if findings:
        console.print(table)
    known = [s for s in store.success if s is not None]
    judged = f"{sum(known)} of {len(known)} judged ones succeeded" if known else "none judged"
    console.print(
        f"{len(store)} episodes ({judged}), {store.frames} frames, {len(findings)} findings"
    )
    return int(doctor.broken(findings))
