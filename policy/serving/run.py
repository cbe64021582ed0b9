"""A run: a policy, or recorded actions, on a robot.

It has limits, watchdogs, a log, and a person in charge.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ...envs import Spec
from ...envs.atomic_files import write_file
from ...envs.cameras.camera_config import CameraConfig, read_cameras
from ...envs.control.control_config import ControlConfig
from ...envs.control.control_loop import NOT_BEGUN
from ...envs.control.log_reading import read_ticks
from ...envs.control.telemetry import LATENCY, RunLog
from ...envs.interrupts import ended_by_signals, handled_signals
from ...envs.mailbox import empty_memory
from ...envs.safety.calibration import delays
from ...envs.safety.states import State
from ...envs.schema import to_plain
from ...envs.versions import versions
from ..engines.loading import find_weights
from .acting import acting, write_recorded_actions
from .episode_report import report_episode
from .inference_config import InferenceConfig
from .live.run_page import showing
from .run_config import Level, Log, RunConfig, require_consistent
from .run_recorder import RunRecorder, recording, require_place
from .supervisor import START_SECONDS, Supervisor
from .systemd import notify

HANG_SECONDS = 10.0  # without a tick, after which a run that nobody attends ends


class Operator(Protocol):
    """The person in charge. `poll` is to be called again and again while a question is open."""

    def begins(self, episode: int, poll: Callable[[], None]) -> bool:
        """Ask whether the next episode shall begin."""
        ...

    def judges(self, poll: Callable[[], None]) -> bool | None:
        """Ask whether an episode succeeded; None where the person cannot say."""
        ...


def run(config: RunConfig, operator: Operator, log: Log) -> int:
    """Start both processes, then let the person begin each episode and judge it.

    Args:
        config: What runs.
        operator: Who is asked; nobody is where `config.unattended`.
        log: Is given what a person has to know.

    Returns:
        0, or 1 where an episode failed or anything went wrong.
    """
    require_consistent(config)
    if config.record:
        require_place(Path(config.record))
    cameras = {} if config.cameras is None else read_cameras(config.cameras)
    control, inference = acting(config, tuple(cameras))
    if inference is not None:
        log(f"chunks are computed by the {inference.engine} engine", "info")
    run_log = RunLog(Path(config.out))
    if config.actions:
        control = replace(control, replay=str(write_recorded_actions(config, run_log.folder)))
    log("This is no certified safety function: the emergency stop comes first.", "warning")
    with ended_by_signals():
        return _run(config, run_log, control, inference, cameras, operator, log)


def _run(
    config: RunConfig,
    run_log: RunLog,
    control: ControlConfig,
    inference: InferenceConfig | None,
    cameras: Mapping[str, CameraConfig],
    operator: Operator,
    log: Log,
) -> int:
    def warn(text: str) -> None:
        log(text, "warning")

    hang_seconds = HANG_SECONDS if config.unattended else math.inf
    frames = empty_memory()
    if config.record:
        control = replace(control, frames=frames)
    supervisor = Supervisor(
        run_log, control, warn, inference, [frames], hang_seconds=hang_seconds, cameras=cameras
    )
    try:
        ready = supervisor.wait("ready", seconds=START_SECONDS)
        spec = Spec.from_json(ready["spec"])
        _write_facts(config, run_log, control, inference, ready)
        notify("READY=1")
        in_real_time = ready["scheduling"].startswith("SCHED_FIFO")
        level: Level = "info" if in_real_time else "alarm"
        log(f"ready at {ready['hz']:g} Hz; {ready['scheduling']}", level)
        if config.calibrate:
            config = replace(config, episodes=1, seconds=ready["seconds"])
            for name, reason in ready["skipped"].items():
                log(f"{name} is left out: {reason}", "info")
        with (
            showing(config, supervisor, control, spec, log),
            recording(config, supervisor, spec, frames, log) as recorder,
        ):
            code = _play_episodes(config, supervisor, spec, operator, log, recorder)
    finally:
        inference_seconds = supervisor.inference_seconds
        wrong = supervisor.close()
        for text in wrong:
            log(text, "alarm")
        os.close(frames)
        log(f"stopped; log in {config.out}", "info")
    if config.calibrate and not code:
        code = _report_delays(Path(config.out), spec, inference_seconds, log)
    return code or (1 if wrong else 0)


def _write_facts(
    config: RunConfig,
    run_log: RunLog,
    control: ControlConfig,
    inference: InferenceConfig | None,
    ready: Mapping[str, Any],
) -> None:
    facts: dict[str, Any] = {
        "versions": versions(),
        "robot": config.robot,
        "options": sorted(config.options),
        "policy": config.policy,
        "actions": config.actions,
        "limits": ready["limits"],
        "unlimited": list(config.unlimited),
        "watchdog": to_plain(config.watchdog),
        "scheduling": ready["scheduling"],
        "began": {"unix": time.time(), "robot": ready["time"]},
    }
    if inference is not None and control.policy is not None:
        facts["sha256"] = find_weights(config.policy)
        facts["engine"] = inference.engine
        facts["horizon"] = control.policy.horizon
        facts["action_steps"] = control.policy.action_steps
        facts["actuation_delay"] = control.policy.actuation_delay
    run_log.facts(Spec.from_json(ready["spec"]), **facts)


def _play_episodes(
    config: RunConfig,
    supervisor: Supervisor,
    spec: Spec,
    operator: Operator,
    log: Log,
    recorder: RunRecorder | None,
) -> int:
    """Play one episode after the other; return 1 where one failed."""
    code = 0
    for episode in range(config.episodes):
        if not config.unattended and not operator.begins(episode, supervisor.poll):
            break
        if not config.unattended:
            supervisor.held = False  # a person has begun this one
        if supervisor.held:
            break
        outcome = _play_episode(config, supervisor, episode)
        if recorder:
            recorder.take_all()
        success = outcome.success
        if success is None and not config.unattended:
            success = operator.judges(supervisor.poll)
        supervisor.run_log.note("judged", episode=episode, success=success)
        log(f"episode {episode}: {outcome.why}; success: {success}", "info")
        for line in recorder.end(success) if recorder else ():
            log(line, "info")
        ticks = read_ticks(supervisor.run_log.folder, _state(config))
        ticks = ticks[ticks["episode"] == outcome.number]
        cameras = [port.name for port in supervisor.cameras.ports] if supervisor.cameras else []
        report_episode(spec, ticks, cameras, log)
        if success is False or outcome.is_fault:
            code = 1
        if config.unattended and (outcome.interrupted or outcome.is_fault):
            break
    return code


@dataclass(frozen=True)
class Played:
    """How an episode ended."""

    number: int  # as the control process counts
    why: str
    success: bool | None  # None where nobody judged it yet
    interrupted: bool  # by the person

    @property
    def is_fault(self) -> bool:
        """Return whether a fault ended it, or kept it from beginning."""
        return self.why == NOT_BEGUN or self.why.startswith("fault")


def _play_episode(config: RunConfig, supervisor: Supervisor, episode: int) -> Played:
    supervisor.wait_for_inference()
    if not config.shadow:
        supervisor.order("arm")
    seed = str(config.seed + episode) if config.seed >= 0 else "-"
    rest = "disarm" if config.shadow else "hold"
    supervisor.order(f"play {seed} {config.seconds} {_state(config)}")
    if supervisor.held:  # on the page, perhaps before there was an episode to hold
        supervisor.order(rest)
    with _interrupts(supervisor, rest):
        ended = supervisor.wait("ended")
    why = ended.get("why") or "over"
    return Played(ended["episode"], why, ended.get("success"), supervisor.held)


def _state(config: RunConfig) -> State:
    return State.SHADOW if config.shadow else State.ACTIVE


@contextmanager
def _interrupts(supervisor: Supervisor, rest: str) -> Iterator[None]:
    """Let the first Ctrl-C bring the robot to `rest`, and the second end the run.

    So does Ctrl-Z, which stops no arm.
    """
    pressed: list[bool] = []

    def hold(*_: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)
        supervisor.held = True
        supervisor.order(rest)

    with handled_signals(hold, signal.SIGINT, signal.SIGTSTP):
        yield


def _report_delays(out: Path, spec: Spec, inference_seconds: float, log: Log) -> int:
    """Log the delays that the ticks show, and write them into latency.json."""
    found = delays(spec, read_ticks(out))
    content: dict[str, Any] = {
        "observation": found.observation,
        "actuation": found.actuation,
        "still": list(found.still),
    }
    if not math.isnan(inference_seconds):
        content["inference"] = inference_seconds
    write_file(out / LATENCY, json.dumps(content, indent=1).encode())
    for name, seconds in found.observation.items():
        log(f"observation {name}: {1e3 * seconds:.1f} ms old", "info")
    median, worst = 1e3 * found.median, 1e3 * found.worst
    log(f"actuation: {median:.1f} ms, the slowest {worst:.1f} ms", "info")
    if found.still:
        log(f"did not follow: {', '.join(found.still)}", "alarm")
    if not math.isnan(inference_seconds):
        log(f"inference: {1e3 * inference_seconds:.1f} ms", "info")
    log(
        f"to send every action that much early: fewstep run actuation_delay={found.median:.3f} ...",
        "info",
    )
    return 1 if found.still else 0
