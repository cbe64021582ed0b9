"""A run: a policy, or recorded actions, on a robot.

It has limits, watchdogs, a log, and a person in charge.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...envs import Spec
from ...envs.atomic_files import write_file
from ...envs.cameras.camera_config import CameraConfig, read_cameras
from ...envs.control.control_config import ControlConfig, OperatorActor
from ...envs.control.log_reading import read_ticks
from ...envs.control.telemetry import LATENCY, RunLog
from ...envs.interrupts import ended_by_signals
from ...envs.mailbox import empty_memory
from ...envs.safety.calibration import delays
from ...envs.schema import to_plain
from ...envs.versions import versions
from ..engines.loading import find_weights
from .acting import acting, write_recorded_actions
from .alarm import Alarm
from .inference_config import InferenceConfig
from .live.run_page import showing
from .run_config import Level, Log, RunConfig, require_consistent
from .run_episodes import Operator, play_episodes
from .run_recorder import recording, require_place
from .supervisor import START_SECONDS, Supervisor
from .systemd import notify
from .takeover import TakeoverDevice, takeover_device

HANG_SECONDS = 10.0  # without a tick, after which a run that nobody attends ends


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
    with ended_by_signals(), takeover_device(config, log) as takeover:
        return _run(config, run_log, control, inference, cameras, operator, log, takeover)


def _run(
    config: RunConfig,
    run_log: RunLog,
    control: ControlConfig,
    inference: InferenceConfig | None,
    cameras: Mapping[str, CameraConfig],
    operator: Operator,
    log: Log,
    takeover: TakeoverDevice | None,
) -> int:
    def warn(text: str) -> None:
        log(text, "warning")

    hang_seconds = HANG_SECONDS if config.unattended else math.inf
    frames = empty_memory()
    fds = [frames]
    if config.record:
        control = replace(control, frames=frames)
    if takeover:
        control = replace(control, operator=OperatorActor(takeover.leads, takeover.fd))
        fds.append(takeover.fd)
    supervisor = Supervisor(
        run_log, control, warn, inference, fds, hang_seconds=hang_seconds, cameras=cameras
    )
    try:
        ready = supervisor.wait("ready", seconds=START_SECONDS)
        spec = Spec.from_json(ready["spec"])
        _write_facts(config, run_log, control, inference, ready)
        _say_ready(ready, log)
        if takeover:
            takeover.face(spec)
        if config.calibrate:
            config = replace(config, episodes=1, seconds=ready["seconds"])
        alarm = Alarm(config, supervisor, log)
        supervisor.hears |= {"begins": alarm.begin, "monitor": alarm.hear}
        with (
            showing(config, supervisor, control, spec, takeover, log),
            recording(config, supervisor, spec, frames, log) as recorder,
        ):
            code = play_episodes(config, supervisor, spec, operator, log, recorder, takeover)
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


def _say_ready(ready: Mapping[str, Any], log: Log) -> None:
    """Tell systemd and a person that the robot is ready, and what is left out of a calibration."""
    notify("READY=1")
    level: Level = "info" if ready["scheduling"].startswith("SCHED_FIFO") else "alarm"
    log(f"ready at {ready['hz']:g} Hz; {ready['scheduling']}", level)
    for name, reason in ready.get("skipped", {}).items():
        log(f"{name} is left out: {reason}", "info")


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
