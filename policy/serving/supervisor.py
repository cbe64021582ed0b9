"""The supervisor: starts the control process, keeps its log, and watches over all processes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from queue import Empty, Queue
from typing import Any

from ...envs import RobotError, Spec
from ...envs.cameras.camera_config import CameraConfig
from ...envs.cameras.camera_processes import CameraProcesses
from ...envs.control.control_config import ControlConfig
from ...envs.control.telemetry import RunLog
from ...envs.processes import large_pipe, listen, start
from .inference_config import InferenceConfig
from .inference_process import Inference
from .systemd import notify

START_SECONDS = 120.0  # that either process has to get ready
GRACE_SECONDS = 15.0  # that the control process has to brake and end
STUCK_GRACE_SECONDS = 2.0  # the same, where it has stood still already
RESET_SECONDS = 120.0  # that a robot may take for its reset
ALIVE_SECONDS = 0.25  # between two signs of life for systemd
LOOK_SECONDS = 0.05
# Without a tick, and so many looks in a row: this process may have been stopped, too.
STUCK_SECONDS = 0.5
LOOKS = 10
SLOW_SECONDS = 1.0  # a reset that takes longer is told
STOPPED = (
    "the control process has stopped: nothing is sent to the robot; "
    "use the emergency stop, then end this run"
)
KILLED = (
    "the control process was killed: nothing has braked the robot, "
    "and nothing is sent to it any more"
)


class Supervisor:
    """One control process, and whoever has an eye on it.

    config: what it is told; fds: what it inherits besides; log: is given, in words and within
    `poll`, what goes wrong. The control process is not started before the cameras and the inference
    are ready, and runs on where one of them ends.
    hang_seconds: without a tick, after which nobody waits for the control process any more.
    """

    def __init__(
        self,
        run_log: RunLog,
        config: ControlConfig,
        log: Callable[[str], None],
        inference: InferenceConfig | None = None,
        fds: Sequence[int] = (),
        hang_seconds: float = math.inf,
        cameras: Mapping[str, CameraConfig] | None = None,
    ) -> None:
        self.run_log = run_log
        self.held = False  # whether a person has asked for that since an episode was begun
        self.hears: dict[str, Callable[[dict[str, Any]], None]] = {}  # events, by their names
        self.on_poll: list[Callable[[], None]] = []  # what else is looked after
        self._log = log
        self._hang_seconds = hang_seconds
        self._arrived = Queue[dict[str, Any]]()  # from the threads that listen
        self._events = deque[dict[str, Any]]()  # noted, and waited for by nobody yet
        self._last_sign = math.inf  # of life of the control process [s]
        self._last_notified = 0.0  # systemd [s]
        self._stuck = 0  # looks in a row without a sign
        self._slow_logged = False
        self._trouble_logged = False
        self.cameras: CameraProcesses | None = None
        self._inference: Inference | None = None
        self._control: subprocess.Popen[bytes] | None = None
        self._threads: list[threading.Thread] = []
        try:
            self.cameras = CameraProcesses(cameras or {})
            ports = self.cameras.ports
            config = replace(config, cameras=ports)
            if inference:
                config, of_inference = self._start_inference(
                    replace(inference, cameras=ports), config
                )
                fds = [*fds, *of_inference]
            self._start_control(config, [*fds, *(port.status for port in ports)])
        except BaseException:
            self.close()
            raise

    def _start_inference(
        self, inference: InferenceConfig, config: ControlConfig
    ) -> tuple[ControlConfig, Sequence[int]]:
        """Return what the control process is told of the inference, and what it inherits."""
        acting = config.policy
        if acting is None or config.spec is None:
            raise RobotError("an inference is asked for, and no policy acts")
        messages = acting.make_messages(Spec.from_json(config.spec))
        started = Inference(inference, messages, self.on_line)
        self._inference = started
        self.wait_for_inference()
        fds = (started.requests.fd, started.chunks.fd, started.bell)
        asking = replace(acting, requests=fds[0], chunks=fds[1], bell=fds[2])
        return replace(config, policy=asking), fds

    def _start_control(self, config: ControlConfig, fds: Sequence[int]) -> None:
        pipes = [large_pipe() for _ in range(3)]
        (events_in, ticks_in, chunks_in), (events, ticks, chunks) = zip(*pipes, strict=True)
        self._control = start(
            "fewstep.envs.control.process", fds=[*fds, events, ticks, chunks], stdin=subprocess.PIPE
        )
        for fd in (events, ticks, chunks):
            os.close(fd)
        self._threads = [
            listen(events_in, self.on_line, lines=True),
            listen(ticks_in, self._on_ticks, lines=False),
            listen(chunks_in, self.run_log.chunks, lines=False),
        ]
        self.order(json.dumps(asdict(replace(config, events=events, ticks=ticks, chunks=chunks))))

    @property
    def inference_seconds(self) -> float:
        """How long a chunk took to make, at the start [s]; NaN where there is no inference."""
        return self._inference.seconds if self._inference else math.nan

    def order(self, line: str) -> None:
        """Ask the control process for something."""
        with suppress(BrokenPipeError):
            self._control.stdin.write(line.encode() + b"\n")  # pyright: ignore
            self._control.stdin.flush()  # pyright: ignore

    def wait(self, *names: str, seconds: float = math.inf) -> dict[str, Any]:
        """The next event of one of these names.

        RobotError where the control process ends first, or takes too long.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.poll(LOOK_SECONDS)
            while self._events:
                event = self._events.popleft()
                if event["event"] in names:
                    return event
        raise RobotError(f"nothing heard of {' or '.join(names)} in {seconds:g} s")

    def next_event(self, name: str) -> dict[str, Any] | None:
        """The next event of this name, of those that `poll` has noted; None where there is none."""
        while self._events:
            event = self._events.popleft()
            if event["event"] == name:
                return event
        return None

    def wait_for_inference(self) -> None:
        """Return once a policy is there to answer."""
        if self._inference is None or self._inference.ready:
            return
        self._log("waiting for the inference process, which loads the policy")
        end = time.monotonic() + START_SECONDS
        while not self._inference.ready:
            self.poll(LOOK_SECONDS)
            if time.monotonic() > end:
                raise RobotError(f"the inference process was not ready within {START_SECONDS:g} s")

    def poll(self, seconds: float = 0.0) -> None:
        """Take note of what is said, for so long where nothing is; tell what somebody has to know.

        RobotError where the run cannot go on.
        """
        with suppress(Empty):
            if seconds:
                self._note(self._arrived.get(timeout=seconds))
            while True:
                self._note(self._arrived.get_nowait())
        self._look_after_control()
        for look in self.on_poll:
            look()
        for text in self.cameras.look() if self.cameras else ():
            self.run_log.note("camera", text=text)
            self._log(text)
        ended = self._inference and self._inference.look()
        if ended is not None:
            self.run_log.note("inference ended", code=ended)
            self._log("the inference process has ended and is started again")
        if self.run_log.trouble and not self._trouble_logged:
            self._trouble_logged = True
            self._log(f"{self.run_log.trouble}; the run goes on without its log")

    def _note(self, event: dict[str, Any]) -> None:
        name = event.get("event")
        if name == "failed":
            raise RobotError(event["text"])
        if name in self.hears:
            self.hears[name](event)
        if name == "homing":
            self._note_homing(event["seconds"])
        elif name in ("safety", "refused", "pause", "unanswered", "takeover"):
            self._log(event["text"])
            if self._inference is not None and "no action for" in event["text"]:
                self._inference.end_hanging()
        else:
            self._slow_logged = False
            self._events.append(event)

    def _note_homing(self, seconds: float) -> None:
        if seconds >= SLOW_SECONDS and not self._slow_logged:
            self._slow_logged = True
            self._log("the robot resets itself; Ctrl-C breaks that off")

    def _look_after_control(self) -> None:
        """Say when control stands still.

        RobotError where it has ended, or stood still for too long.
        """
        if self._control is None:
            return
        code = self._control.poll()
        if code is not None and code < 0:
            raise RobotError(KILLED)
        if code is not None and self._all_noted():
            raise RobotError(f"the control process has ended ({code}); see {self.run_log.folder}")
        silent = time.monotonic() - self._last_sign
        self._stuck = self._stuck + 1 if silent > STUCK_SECONDS else 0
        if self._stuck == LOOKS:
            self.run_log.note("stuck")
            self._log(STOPPED)
        if self._stuck > LOOKS and silent > self._hang_seconds:
            raise RobotError(
                f"fault: the robot or its control process has not answered for {silent:.0f} s"
            )

    def _all_noted(self) -> bool:
        """Whether everything has been noted that a control process said which has ended."""
        self._threads[0].join(LOOK_SECONDS)
        return self._arrived.empty()

    def close(self) -> list[str]:
        """Brake, let go of the robot, end the processes.

        Return what went wrong in doing so, in words.
        """
        wrong = self._end_control(self._control) if self._control else []
        for thread in self._threads:
            thread.join(GRACE_SECONDS)
        if self._inference is not None:
            self._inference.close()
        if self.cameras is not None:
            self.cameras.close()
        self.run_log.close()
        for event in self._arrived.queue:
            if event.get("event") == "failed":
                wrong.append(event["text"])
        if self.run_log.trouble:
            wrong.append(self.run_log.trouble)
        return wrong

    def _end_control(self, control: subprocess.Popen[bytes]) -> list[str]:
        self.order("stop")
        with suppress(BrokenPipeError):
            control.stdin.close()  # pyright: ignore
        try:
            control.wait(GRACE_SECONDS if self._stuck < LOOKS else STUCK_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            control.kill()
            control.wait()
        return [KILLED] if control.returncode < 0 else []

    def on_line(self, line: bytes) -> None:
        """Take in a line of JSON from either process."""
        with suppress(ValueError, TypeError, KeyError):
            event = json.loads(line)
            if event["event"] == "homing":
                if event["seconds"] < RESET_SECONDS:
                    self._is_alive()
            else:
                self.run_log.event(line)
            if self._inference is not None:
                self._inference.note(event)
            self._arrived.put(event)

    def _on_ticks(self, content: bytes) -> None:
        self._is_alive()
        self.run_log.ticks(content)

    def _is_alive(self) -> None:
        self._last_sign = time.monotonic()
        # systemd is told of the control process, not of this one
        if self._last_sign > self._last_notified + ALIVE_SECONDS:
            self._last_notified = self._last_sign
            notify("WATCHDOG=1")
