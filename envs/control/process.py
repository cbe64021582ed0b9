"""The control process: what it is made of, and its beginning and end."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import time
import traceback
from contextlib import suppress
from typing import Any

import numpy as np

from ..agent import Agent
from ..cameras.camera_config import with_cameras
from ..cameras.watch import CameraWatch, WithStamps
from ..clock import WallClock
from ..errors import FewstepError, RobotError
from ..hardware.registry import make_live
from ..loop import Actor
from ..mailbox import Mailbox
from ..robot import Robot
from ..safety.calibration import Sweep
from ..safety.homing import HomingRobot
from ..safety.limits import Limits
from ..safety.safe_robot import SafeRobot
from ..schema import from_plain
from ..sim.registry import make_tool
from ..spec import Spec, incompatibilities
from ..teleop.takeover import Takeover
from .control_config import ControlConfig, PolicyActor
from .control_loop import Control, Timed, is_never_over
from .frames import FrameSender
from .messages import OnChunk, ProcessRunner
from .remote_hand import RemoteDrive, RemoteHand, RemoteLeader
from .replay import Replay
from .wire import CHUNKS, EVENTS, TICKS, Events, Orders, Wire

WAIT_SECONDS = 0.01  # between two looks for the order to begin
MCL_CURRENT = 1  # of mlockall(2): what is in memory now stays there


class NotBegunError(Exception):
    """Raised when the order to stop comes before anything has begun."""


def enter_real_time(priority: int) -> str:
    """Freeze the garbage collector, keep the memory, and ask for SCHED_FIFO.

    Return what became of that, in words.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mlockall(MCL_CURRENT)
    if not priority:
        return "SCHED_FIFO not asked for"
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (AttributeError, OSError) as error:
        return (
            f"NO REAL-TIME PRIORITY ({error}): ticks will be late under load; "
            "see docs/running.md, LimitRTPRIO"
        )
    return f"SCHED_FIFO {priority}"


def main(config: ControlConfig) -> None:
    """Make everything, say `ready`, and tick; or say what keeps it from doing so."""
    events = Wire(config.events, EVENTS)
    try:
        _serve(config, events)
    except NotBegunError:
        pass
    except FewstepError as error:
        _write_failure(events, str(error))
    except Exception as error:
        text = f"the control process failed: {type(error).__name__}: {error}"
        _write_failure(events, text, trace=traceback.format_exc()[-2000:])
    with suppress(OSError):
        os.set_blocking(config.events, True)
        events.flush()


def _write_failure(events: Wire, text: str, **details: str) -> None:
    line = json.dumps({"event": "failed", "text": text, **details})
    events.send(line.encode() + b"\n", spare=False)


def _serve(config: ControlConfig, events: Wire) -> None:
    robot = make_live(config.robot, config.options)
    try:
        control = _make_control(config, robot, events)
    except BaseException:
        robot.close()
        raise
    control.run()


def _make_control(config: ControlConfig, robot: Robot, wire: Wire) -> Control:
    cameras = CameraWatch(config.cameras, config.watchdog.camera_seconds, robot.clock)
    served = with_cameras(robot.spec, cameras.sizes)
    spec = served if config.spec is None else Spec.from_json(config.spec)
    _require_fitting(config, spec, served)
    orders = Orders(0)
    events = Events(wire, robot.clock.now)
    if config.operator and config.policy is None:
        events.write("made", spec=served.to_json())
        _wait_to_begin(orders)
    limits = Limits.of(robot.spec, config.limits, config.unlimited, config.limits_file)

    def log_safety(text: str) -> None:
        events.write("safety", spare=True, text=text)

    def log_homing(seconds: float) -> None:
        events.write("homing", spare=True, seconds=seconds)

    def is_broken_off() -> bool:
        return control.stopping or orders.break_off()

    attended = HomingRobot(robot, alive=log_homing, break_off=is_broken_off)
    safe = SafeRobot(attended, limits, config.watchdog, log_safety, WallClock())
    actor, inference = _make_actor(config, spec, robot, limits, events)
    control = Control(
        safe,
        WithStamps(actor, cameras) if config.cameras else actor,
        orders,
        events,
        log=Wire(config.ticks, TICKS),
        cameras=cameras,
        inference=inference,
        listener=FrameSender(robot.spec, config.frames) if config.frames >= 0 else None,
        is_over=actor.is_over if isinstance(actor, Replay) else is_never_over,
    )
    _stop_on_signals(control)
    safe.reset(None)
    _write_ready(events, config, served, actor, limits)
    return control


def _require_fitting(config: ControlConfig, spec: Spec, served: Spec) -> None:
    """Raise RobotError where robot and cameras do not serve what acts."""
    wrong = incompatibilities(spec, served)
    if not wrong:
        return
    what = "this policy does" if config.policy is not None else "these recorded actions do"
    missing = spec.images.keys() - served.images.keys()
    hint = f"; cameras={{{', '.join(f'{name}: ...' for name in sorted(missing))}}} gives some"
    raise RobotError(
        f"{what} not fit robot {config.robot!r}: {'; '.join(wrong)}{hint if missing else ''}"
    )


def _stop_on_signals(control: Control) -> None:
    def stop(*_: object) -> None:
        control.stopping = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def _write_ready(
    events: Events, config: ControlConfig, served: Spec, actor: Actor, limits: Limits
) -> None:
    facts: dict[str, Any] = {
        "spec": served.to_json(),
        "hz": served.command_hz,
        "limits": limits.to_plain(),
    }
    if isinstance(actor, Sweep):
        facts["seconds"] = actor.seconds
        facts["skipped"] = actor.skipped
    scheduling = enter_real_time(config.priority)
    events.write("ready", pid=os.getpid(), scheduling=scheduling, **facts)


def _wait_to_begin(orders: Orders) -> None:
    """Wait until whoever records knows the robot's Spec and has made room for its frames."""
    taken = orders.take()
    while not taken:
        time.sleep(WAIT_SECONDS)
        taken = orders.take()
    if taken[0] != "begin":
        raise NotBegunError


def _make_actor(
    config: ControlConfig, spec: Spec, robot: Robot, limits: Limits, events: Events
) -> tuple[Actor, Timed | None]:
    """Return who acts; spec: of what acts."""
    served = robot.spec
    if config.calibrate:
        return Sweep(served, limits), None
    if config.replay:
        return Replay(np.load(config.replay, allow_pickle=False), spec), None
    hand = RemoteHand(served, config.operator.hands) if config.operator else None
    operator = _make_operator(config, hand, served, limits) if hand else None
    if config.policy is None and operator:
        return operator, None
    if config.policy is None:
        raise RobotError("nobody is there who acts")
    chunks = Wire(config.chunks, CHUNKS)

    def log_chunk(record: np.ndarray) -> None:
        chunks.send(np.float64(robot.clock.now()).tobytes() + record.tobytes())

    def log_takeover(text: str) -> None:
        events.write("takeover", spare=True, text=text)

    agent, inference = _make_agent(config.policy, spec, log_chunk)
    if hand and operator:
        return Takeover(agent, operator, hand.takes, log_takeover), inference
    return agent, inference


def _make_operator(
    config: ControlConfig, hand: RemoteHand, served: Spec, limits: Limits
) -> RemoteLeader | RemoteDrive:
    if config.operator and config.operator.leader:
        return RemoteLeader(hand, served, limits)
    return RemoteDrive(hand, make_tool(config.robot, served), served)


def _make_agent(policy: PolicyActor, spec: Spec, on_chunk: OnChunk) -> tuple[Agent, ProcessRunner]:
    messages = policy.make_messages(spec)
    requests = Mailbox(messages.request, policy.requests)
    chunks = Mailbox(messages.chunk, policy.chunks)
    runner = ProcessRunner(messages, requests, chunks, policy.bell, on_chunk)
    agent = Agent(
        runner,
        policy.asked(spec),
        observation_steps=policy.observation_steps,
        action_steps=policy.action_steps,
        pictures=policy.pictures,
        cameras=policy.cameras,
        prefix_length=policy.prefix_length,
        patience=policy.patience,
        actuation_delay=policy.actuation_delay,
        agreement=policy.agreement,
    )
    return agent, runner


def _read_config() -> ControlConfig:
    """Read the first line of the standard input, and no byte of the orders that follow."""
    with os.fdopen(0, "rb", buffering=0, closefd=False) as orders:
        line = orders.readline()
    return from_plain(ControlConfig, json.loads(line), "control")


if __name__ == "__main__":
    main(_read_config())
