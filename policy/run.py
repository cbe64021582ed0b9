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
from ..envs.control import NOT_BEGUN
from ..envs.safety import State, Watch
from .checkpoint import MODEL, find_policy, load_policy, write_file, writing
from .node import START, Node, missed, notify, read_ticks, set_aside, tick_fields
from .person import answer, begins
from .runner import promises

LOST = 0.01  # share of missed ticks that is told


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
    _check(c)
    out = Path(c.out)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        set_aside(out)
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
        console.print(f"ready at {ready['hz']:g} Hz; {ready['scheduling']}", style=style, markup=False)
        c = replace(c, episodes=1, seconds=SECONDS) if c.calibrate else c
        code = _episodes(c, node, ready["hz"], console)
    finally:
        wrong = node.close()
        if main:
            signal.signal(signal.SIGTERM, before)
        for text in wrong:
            console.print(text, style="bold red", markup=False)
        console.print(f"stopped; log in {out}", markup=False)
    return code or (1 if wrong else 0) or (_calibrated(out, node.inference_seconds, console) if c.calibrate else 0)


def _check(c: Run) -> None:
    if bool(c.policy) == bool(c.actions):
        raise ConfigError("run needs either a policy= or recorded actions=")
    if c.calibrate and c.shadow:
        raise ConfigError("calibrate=true moves the robot: it cannot be done with shadow=true")
    if not 0 <= c.lead < math.inf:
        raise ConfigError(f"lead must be seconds, 0 or more, not {c.lead}")
    above = {"seconds": c.seconds, "watch.observation": c.watch.observation, "watch.action": c.watch.action}
    above |= {"episodes": c.episodes, "threads": c.threads}
    if bad := [f"{name}={x}" for name, x in above.items() if not x > 0]:
        raise ConfigError(f"{', '.join(bad)}: must be above 0")
    if not c.watch.soft >= 0 or c.episode < 0:
        raise ConfigError(f"watch.soft and episode must be 0 or more, not {c.watch.soft} and {c.episode}")
    if not 0 <= c.priority <= 99:
        raise ConfigError(f"priority must be 0 to 99, not {c.priority}")


def _calibrated(out: Path, inference: float, console: Console) -> int:
    """Tell the delays from the log, and write them into latency.json."""
    t = read_ticks(out)
    acting = delay(t["time"], t["sent"], t["time"] - t["age"], t["measured"])
    found = {"observation": float(np.median(t["age"])), "inference": inference, "actuation": acting}
    write_file(out / "latency.json", json.dumps(found, indent=1).encode())
    console.print("; ".join(f"{name} {1e3 * s:.1f} ms" for name, s in found.items()))
    console.print(f"to send every action that much early: fewstep run lead={acting:.3f} ...")
    return 0


def _episodes(c: Run, node: Node, hz: float, console: Console) -> int:
    state, failed = "shadow" if c.shadow else "active", 0
    for k in range(c.episodes):
        if not c.unattended and not begins(console, k):
            break
        if not c.shadow:
            node.tell("go hold")
        node.tell(f"play {c.seed + k if c.seed >= 0 else '-'} {c.seconds} {state}")
        with _interrupts(node, "disarmed" if c.shadow else "hold") as pressed:
            ended = _follow(node, console)
        judged, why = ended.get("success"), ended.get("why") or "over"
        wrong = why == NOT_BEGUN or why.startswith("fault")
        if judged is None and not c.unattended:
            judged = {"y": True, "n": False}.get(answer(console, "success? y, n, or Enter for unknown: ")[:1])
        node.note("judged", episode=k, success=judged)
        console.print(f"episode {k}: {why}; success: {judged}", markup=False)
        lost, due = missed(node.folder, ended["episode"], hz, State(state))
        if lost > LOST * due:
            console.print(f"{lost} of {due} ticks were missed: this computer does not keep {hz:g} Hz", style="bold red")
        failed += judged is False or wrong
        if c.unattended and (pressed or wrong):
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
def _interrupts(node: Node, rest: str) -> Iterator[list[bool]]:
    """The first Ctrl-C brings the robot to `rest`, the second ends the run; so does Ctrl-Z, which stops no arm."""
    pressed: list[bool] = []

    def hold(*_: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)
        node.tell(f"go {rest}")

    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    numbers = [signal.SIGINT, *([signal.SIGTSTP] if hasattr(signal, "SIGTSTP") else [])]
    before = {number: signal.signal(number, hold) for number in numbers}
    try:
        yield pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


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
    with writing(out):
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
