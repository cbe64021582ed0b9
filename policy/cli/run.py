"""`fewstep run`: a policy, or recorded actions, on a robot, with limits, watchdogs, a log, and a person in charge."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING
from rich.console import Console

from ...demos.store import DemoStore
from ...envs import ConfigError, Spec
from ...envs.control.control_loop import NOT_BEGUN
from ...envs.control.messages import Messages
from ...envs.control.process import ControlConfig, PolicyActor
from ...envs.interrupts import ended_by_signals, handled_signals
from ...envs.safety.calibration import delays
from ...envs.safety.states import State, WatchdogConfig
from ...envs.tables import read_table
from ..checkpoint import MODEL, find_policy, load_policy, write_file, writing
from ..serving.run_log import LATENCY, RunLog, missed, read_ticks
from ..serving.supervisor import START_SECONDS, Node, Served, notify
from .prompts import Person
from .tables import say

HANG_SECONDS = 10.0  # without a tick, after which a run that nobody attends ends
LOST = 0.01  # share of missed ticks that is told


@dataclass(frozen=True)
class Run:
    """Run a policy, or recorded actions, on a robot. No certified safety function: keep a hand on the emergency stop.

    robot: "simulated", a task in real time, "module:callable" or an installed one; options: what its maker takes.
    actions: a store whose recorded `episode` is replayed in place of a policy. episodes, seconds: how many, and how
    long at most. limits: a YAML file {action: {low, high, velocity, acceleration, max_following_error}} that tightens those of the
    robot; unlimited: actions that go without. shadow: everything runs, nothing is sent. unattended: ask nobody anything,
    and end with the first fault.
    calibrate: in place of a policy a small motion of one joint after the other; it tells how old observations are and
    how long commands take, and with a policy how long its inference takes.
    actuation_delay: s that a command takes to act, and is sent early. watchdog: s until old observations and missing actions are a
    fault, and of a soft start.
    priority: of SCHED_FIFO, 0 to go without. threads: of the inference.
    """

    robot: str = MISSING
    options: dict[str, Any] = field(default_factory=dict)
    policy: str = ""
    actions: str = ""
    episode: int = 0
    episodes: int = 1
    seconds: float = 60.0
    seed: int = -1
    limits: str = ""
    unlimited: tuple[str, ...] = ()
    shadow: bool = False
    calibrate: bool = False
    actuation_delay: float = 0.0
    unattended: bool = False
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    priority: int = 50
    threads: int = 1
    out: str = "out/run"


def run(c: Run, console: Console) -> int:
    """Start both processes, then let the person begin each episode and judge it."""
    _check(c)
    config, served = _acting(c)
    log = RunLog(Path(c.out))
    if c.actions:
        config = replace(config, replay=str(_recorded(c, log.folder)))
    console.print(
        "This is no certified safety function: the emergency stop comes first.", style="bold"
    )
    with ended_by_signals():
        return _run(c, log, config, served, console)


def _run(
    c: Run, log: RunLog, config: ControlConfig, served: Served | None, console: Console
) -> int:
    def tell(text: str) -> None:
        say(console, text, style="yellow")

    node = Node(log, config, tell, served, hang_seconds=HANG_SECONDS if c.unattended else math.inf)
    try:
        ready = node.wait("ready", seconds=START_SECONDS)
        spec = Spec.from_json(ready["spec"])
        log.facts(
            spec,
            robot=c.robot,
            options=sorted(c.options),
            policy=c.policy,
            actions=c.actions,
            **_hash(c.policy),
        )
        notify("READY=1")
        style = "" if ready["scheduling"].startswith("SCHED_FIFO") else "bold red"
        say(console, f"ready at {ready['hz']:g} Hz; {ready['scheduling']}", style=style)
        if c.calibrate:
            c = replace(c, episodes=1, seconds=ready["seconds"])
            for name, why in ready["skipped"].items():
                say(console, f"{name} is left out: {why}")
        code = _episodes(c, node, ready["hz"], console)
    finally:
        inference = node.inference_seconds
        wrong = node.close()
        for text in wrong:
            say(console, text, style="bold red")
        say(console, f"stopped; log in {c.out}")
    if c.calibrate and not code:
        code = _calibrated(Path(c.out), spec, inference, console)
    return code or (1 if wrong else 0)


def _check(c: Run) -> None:
    if c.calibrate and c.actions:
        raise ConfigError("calibrate=true replays nothing: leave out actions=")
    if not c.calibrate and bool(c.policy) == bool(c.actions):
        raise ConfigError("run needs either a policy= or recorded actions=")
    if c.calibrate and c.shadow:
        raise ConfigError("calibrate=true moves the robot: it cannot be done with shadow=true")
    if not 0 <= c.actuation_delay < math.inf:
        raise ConfigError(f"actuation_delay must be seconds, 0 or more, not {c.actuation_delay}")
    above = {
        "seconds": c.seconds,
        "watchdog.observation_seconds": c.watchdog.observation_seconds,
        "watchdog.action_seconds": c.watchdog.action_seconds,
    }
    above |= {"episodes": c.episodes, "threads": c.threads}
    if bad := [f"{name}={x}" for name, x in above.items() if not x > 0]:
        raise ConfigError(f"{', '.join(bad)}: must be above 0")
    if not c.watchdog.ramp_seconds >= 0 or c.episode < 0:
        raise ConfigError(
            f"watchdog.ramp_seconds and episode must be 0 or more, not {c.watchdog.ramp_seconds} and {c.episode}"
        )
    if not 0 <= c.priority <= 99:
        raise ConfigError(f"priority must be 0 to 99, not {c.priority}")


def _episodes(c: Run, node: Node, hz: float, console: Console) -> int:
    state, failed = "shadow" if c.shadow else "active", 0
    person = Person(console, node.poll)
    for k in range(c.episodes):
        if not c.unattended and not person.begins(k):
            break
        node.wait_for_inference()
        if not c.shadow:
            node.order("arm")
        node.order(f"play {c.seed + k if c.seed >= 0 else '-'} {c.seconds} {state}")
        with _interrupts(node, "disarm" if c.shadow else "hold") as pressed:
            ended = node.wait("ended")
        judged, why = ended.get("success"), ended.get("why") or "over"
        wrong = why == NOT_BEGUN or why.startswith("fault")
        if judged is None and not c.unattended:
            answer = person.answer("success? y, n, or Enter for unknown: ")
            judged = {"y": True, "n": False}.get(answer[:1])
        node.log.note("judged", episode=k, success=judged)
        say(console, f"episode {k}: {why}; success: {judged}")
        lost, due = missed(node.log.folder, ended["episode"], hz, State(state))
        if lost > LOST * due:
            console.print(
                f"{lost} of {due} ticks were missed: this computer does not keep {hz:g} Hz",
                style="bold red",
            )
        failed += judged is False or wrong
        if c.unattended and (pressed or wrong):
            break
    return 1 if failed else 0


@contextmanager
def _interrupts(node: Node, rest: str) -> Iterator[list[bool]]:
    """The first Ctrl-C brings the robot to `rest`, the second ends the run; so does Ctrl-Z, which stops no arm."""
    pressed: list[bool] = []

    def hold(*_: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)
        node.order(rest)

    with handled_signals(hold, signal.SIGINT, signal.SIGTSTP):
        yield pressed


def _acting(c: Run) -> tuple[ControlConfig, Served | None]:
    """Who acts in the control process, and which policy is served to it."""
    common: dict[str, Any] = {
        "robot": c.robot,
        "options": c.options,
        "unlimited": tuple(c.unlimited),
        "priority": c.priority,
    }
    common |= {"limits": read_limits(c.limits)}
    if c.calibrate and not c.policy:
        return ControlConfig(**common, watchdog=c.watchdog, calibrate=True), None
    if c.actions:
        spec = DemoStore.open(c.actions).spec
        watchdog = replace(c.watchdog, action_seconds=math.inf)
        return ControlConfig(**common, watchdog=watchdog, spec=spec.to_json()), None
    policy = load_policy(c.policy)
    p, spec = policy.config, policy.spec
    acting = PolicyActor(
        observation_steps=p.observation_steps,
        action_steps=p.action_steps,
        prefix_length=p.longest_prefix,
        patience=p.horizon / spec.policy_hz,
        actuation_delay=c.actuation_delay,
        horizon=p.horizon,
    )
    messages = Messages(spec, observation_steps=p.observation_steps, horizon=p.horizon)
    served = Served(str(find_policy(c.policy)), c.threads, messages)
    watched = {"watchdog": c.watchdog, "spec": spec.to_json(), "calibrate": c.calibrate}
    return ControlConfig(**common, **watched, policy=acting), served


def _recorded(c: Run, folder: Path) -> Path:
    """Write recorded actions where the control process finds them."""
    place = (folder / "actions.npy").resolve()
    with writing(place):
        np.save(place, DemoStore.open(c.actions).episode(c.episode).data["action"])
    return place


def read_limits(path: str) -> dict[str, Any]:
    """The table of a YAML file {action: {limit: number}}; empty for none."""
    return read_table(path, "limits") if path else {}


def _hash(policy: str) -> dict[str, str]:
    """SHA-256 of the weights that act."""
    return (
        {"sha256": sha256((find_policy(policy) / MODEL).read_bytes()).hexdigest()} if policy else {}
    )


def _calibrated(out: Path, spec: Spec, inference: float, console: Console) -> int:
    """Tell the delays from the log, and write them into latency.json."""
    found = delays(spec, read_ticks(out))
    content = {
        "observation": found.observation,
        "actuation": found.actuation,
        "still": list(found.still),
    }
    content |= {} if math.isnan(inference) else {"inference": inference}
    write_file(out / LATENCY, json.dumps(content, indent=1).encode())
    for name, seconds in found.observation.items():
        say(console, f"observation {name}: {1e3 * seconds:.1f} ms old")
    say(console, f"actuation: {1e3 * found.median:.1f} ms, the slowest {1e3 * found.worst:.1f} ms")
    if found.still:
        say(console, f"did not follow: {', '.join(found.still)}", style="bold red")
    if not math.isnan(inference):
        say(console, f"inference: {1e3 * inference:.1f} ms")
    say(
        console,
        f"to send every action that much early: fewstep run actuation_delay={found.median:.3f} ...",
    )
    return 1 if found.still else 0
