"""`fewstep run`: a policy, or recorded actions, on a robot, with limits, watchdogs, a log, and a person in charge."""

from __future__ import annotations

import json
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from yaml import YAMLError

from ..demos.store import DemoStore
from ..envs import ConfigError, Spec
from ..envs.calibrate import SECONDS, delay
from ..envs.safety import Watch
from .checkpoint import MODEL, find_policy, load_policy, write_file
from .node import START, Node, notify, read_ticks, tick_fields
from .runner import promises


@dataclass(frozen=True)
class Run:
    """Run a policy, or recorded actions, on a robot. No certified safety function: keep a hand on the emergency stop.

    robot: "simulated", a task in real time, "module:callable" or an installed one; options: what its maker takes.
    actions: a store whose recorded `episode` is replayed in place of a policy. episodes, seconds: how many, and how
    long at most. limits: a YAML file {action: {low, high, velocity, acceleration, step}} that tightens those of the
    robot; free: actions that go without. shadow: everything runs, nothing is sent. unattended: ask nobody anything,
    and end with the first fault.
    calibrate: in place of the policy a small motion; it tells how old observations are and how long commands take.
    lead: s that a command takes to act, and is sent early. watch: s until old observations and missing actions are a
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
    free: tuple[str, ...] = ()
    shadow: bool = False
    calibrate: bool = False
    lead: float = 0.0
    unattended: bool = False
    watch: Watch = field(default_factory=Watch)
    priority: int = 50
    threads: int = 1
    out: str = "out/run"


def run(c: Run, console: Console) -> int:
    """Start both processes, then let the person begin each episode and judge it."""
    if bool(c.policy) == bool(c.actions):
        raise ConfigError("run needs either a policy= or recorded actions=")
    out = Path(c.out)
    out.mkdir(parents=True, exist_ok=True)
    control, spec, inference = _policy(c) if c.policy else _recording(c, out)
    facts = {"robot": c.robot, "options": c.options, "policy": c.policy, "actions": c.actions}
    facts |= {"ticks": tick_fields(spec.action_size), "spec": spec.to_json(), **_hash(c.policy)}
    write_file(out / "run.json", json.dumps(facts, indent=1).encode())
    console.print("This is no certified safety function: the emergency stop comes first.", style="bold")
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _interrupt) if main else None
    node = Node(out, control, spec, inference)
    try:
        ready = node.wait("ready", seconds=START)
        notify("READY=1")
        style = "" if ready["scheduling"].startswith("SCHED_FIFO") else "bold red"
        console.print(f"ready at {ready['hz']:g} Hz; {ready['scheduling']}", style=style)
        if not c.calibrate:
            return _episodes(c, node, console)
        _episodes(replace(c, episodes=1, seconds=SECONDS), node, console)
    finally:
        node.close()
        if main:
            signal.signal(signal.SIGTERM, before)
        console.print(f"stopped; log in {out}")
    return _calibrated(out, node.inference_seconds, console)


def _calibrated(out: Path, inference: float, console: Console) -> int:
    """Tell the delays from the log, and write them into latency.json."""
    t = read_ticks(out)
    acting = delay(t["time"], t["sent"], t["time"] - t["age"], t["measured"])
    found = {"observation": float(np.median(t["age"])), "inference": inference, "actuation": acting}
    write_file(out / "latency.json", json.dumps(found, indent=1).encode())
    console.print("; ".join(f"{name} {1e3 * s:.1f} ms" for name, s in found.items()))
    console.print(f"to send every action that much early: fewstep run lead={acting:.3f} ...")
    return 0


def _episodes(c: Run, node: Node, console: Console) -> int:
    state, failed = "shadow" if c.shadow else "active", 0
    for k in range(c.episodes):
        if not c.unattended and not _asked(console, f"episode {k}: set the scene, Enter to begin, q to end: ", "q"):
            break
        if not c.shadow:
            node.tell("go hold")
        node.tell(f"play {c.seed + k if c.seed >= 0 else '-'} {c.seconds} {state}")
        with _interrupts(node) as pressed:
            ended = _follow(node, console)
        judged = ended.get("success")
        if judged is None and not c.unattended:
            judged = {"y": True, "n": False}.get(console.input("success? y, n, or Enter for unknown: ").strip().lower())
        node.note("judged", episode=k, success=judged)
        console.print(f"episode {k}: {ended.get('why') or 'over'}; success: {judged}")
        failed += judged is False or "fault" in str(ended.get("why"))
        if c.unattended and (pressed or "fault" in str(ended.get("why"))):
            break
    return 1 if failed else 0


def _follow(node: Node, console: Console) -> dict[str, Any]:
    """Show what is said until the episode has ended."""
    while True:
        event = node.wait("ended", "safety", "refused", "inference ended")
        if event["event"] == "ended":
            return event
        console.print(event.get("text", event["event"]), style="yellow", markup=False)
        if "no action for" in event.get("text", ""):
            node.restart_inference()


@contextmanager
def _interrupts(node: Node) -> Iterator[list[bool]]:
    """The first Ctrl-C holds the robot, the second ends the run."""
    pressed: list[bool] = []

    def hold(*_: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)
        node.tell("go hold")

    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.signal(signal.SIGINT, hold)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _asked(console: Console, question: str, no: str) -> bool:
    return console.input(question).strip().lower() != no


def _policy(c: Run) -> tuple[dict[str, Any], Spec, dict[str, Any]]:
    policy = load_policy(c.policy)
    p, spec = policy.config, policy.spec
    agent = {"observation_steps": p.observation_steps, "execute": p.execute, "promise": promises(policy)}
    agent |= {"patience": p.horizon / spec.policy_hz, "lead": c.lead}
    control = {**_common(c, spec), "agent": agent, "horizon": p.horizon, "replay": ""}
    return control, spec, {"policy": str(find_policy(c.policy)), "threads": c.threads}


def _recording(c: Run, out: Path) -> tuple[dict[str, Any], Spec, None]:
    store = DemoStore.open(c.actions)
    recorded = store.episode(c.episode).data["action"]
    np.save(out / "actions.npy", recorded)
    agent = {"observation_steps": 1, "execute": 1}
    control = {**_common(c, store.spec), "agent": agent, "horizon": 1, "replay": str(out / "actions.npy")}
    return control, store.spec, None


def _common(c: Run, spec: Spec) -> dict[str, Any]:
    watch = asdict(c.watch) | ({"action": math.inf} if c.actions else {})
    given = {"robot": c.robot, "options": c.options, "free": list(c.free), "priority": c.priority}
    given["calibrate"] = c.calibrate
    return {**given, "watch": watch, "spec": spec.to_json(), "limits": read_limits(c.limits)}


def read_limits(path: str) -> dict[str, Any]:
    """The table of a YAML file {action: {limit: number}}; empty for none."""
    if not path:
        return {}
    try:
        table = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, OmegaConfBaseException, ValueError, YAMLError) as error:
        raise ConfigError(f"{path} is no YAML file of limits: {error}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"{path} is no table {{action: {{limit: number}}}}")
    return table  # pyright: ignore[reportReturnType]


def _hash(policy: str) -> dict[str, str]:
    """SHA-256 of the weights that act."""
    return {"sha256": sha256((find_policy(policy) / MODEL).read_bytes()).hexdigest()} if policy else {}
