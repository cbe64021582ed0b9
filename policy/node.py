"""The node: starts control and inference, keeps their log, and starts an inference that fails again."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np

from ..demos.files import lock
from ..envs import RobotError
from ..envs.control import STATES, tick_type
from ..envs.mailbox import Mailbox
from ..envs.process import Messages
from ..envs.safety import State
from ..envs.spec import Spec

PIPE = 1 << 20  # bytes that a log pipe holds while its reader is away
GRACE = 15.0  # s that the control process has to brake and end
ALIVE = 0.25  # s between two signs of life for systemd
EVENTS = "events.jsonl"
LOG = (EVENTS, "ticks.bin", "run.json", "latency.json")
STUCK, LOOKS = 0.5, 10  # s without a tick, and so many looks in a row: this process may have been stopped, too
STOPPED = "the control process has stopped: nothing is sent to the robot; use the emergency stop, then end this run"
KILLED = "the control process was killed: nothing has braked the robot, and nothing is sent to it any more"
START = 120.0  # s that either process has to get ready


class Node:
    """One control process, at most one inference process, and the folder with their log.

    ticks.bin: one record of `control.tick_type` per tick, its dtype in run.json; events.jsonl: all that was said.
    """

    def __init__(
        self, folder: Path, control: Mapping[str, Any], spec: Spec, inference: Mapping[str, Any] | None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.events = folder, Queue[dict[str, Any]]()
        self._log = (folder / EVENTS).open("a", buffering=1)
        self._unlock = lock(self, folder / EVENTS)
        self._inference, self._threads = inference, list[threading.Thread]()
        self._worker: subprocess.Popen[Any] | None = None
        self.inference_seconds = math.nan  # that a chunk took to make, at the start
        agent, horizon = control["agent"], control["horizon"]
        self._messages = Messages(spec, observation_steps=agent["observation_steps"], horizon=horizon)
        self._requests, self._chunks = Mailbox(self._messages.request), Mailbox(self._messages.chunk)
        self._told, self._heard, self._stuck = 0.0, math.inf, 0
        self._bell, bell = os.pipe()
        self._control: subprocess.Popen[Any] | None = None
        if inference is not None:
            self._start_inference()
            self.inference_seconds = self.wait("inference ready", seconds=START)["seconds"]
        (events_in, events), (ticks_in, ticks) = self._pipe(), self._pipe()
        fds = {"requests": self._requests.fd, "chunks": self._chunks.fd, "bell": bell, "events": events, "ticks": ticks}
        os.set_blocking(bell, False)
        self._control = _python("fewstep.envs.control", {**control, **fds}, [*fds.values()], stdin=subprocess.PIPE)
        for fd in (bell, events, ticks):
            os.close(fd)
        self._read(events_in, self._keep_event)
        self._ticks = (folder / "ticks.bin").open("wb", buffering=0)
        self._read(ticks_in, self._keep_ticks)

    def wait(self, *names: str, seconds: float | None = None) -> dict[str, Any]:
        """The next event of one of these names; RobotError where the control process ends first, or takes too long."""
        end = time.monotonic() + (seconds or float("inf"))
        while time.monotonic() < end:
            with suppress(Empty):
                event = self.events.get(timeout=0.05)
                if event["event"] == "failed":
                    raise RobotError(event["text"])
                if event["event"] in names:
                    return event
                continue
            self._supervise()
            if self._over() and self.events.empty():
                code = self._control.returncode  # pyright: ignore
                raise RobotError(f"the control process has ended ({code}); see {self.folder / EVENTS}")
        raise RobotError(f"nothing heard of {' or '.join(names)} in {seconds:g} s")

    def tell(self, line: str) -> None:
        """Ask the control process for something."""
        with suppress(BrokenPipeError):
            self._control.stdin.write(line.encode() + b"\n")  # pyright: ignore
            self._control.stdin.flush()  # pyright: ignore

    def note(self, event: str, **more: Any) -> None:
        """Write an event of one's own into the log."""
        self._log.write(json.dumps({"event": event, **more}) + "\n")

    def close(self) -> list[str]:
        """Brake, let go of the robot, end both processes; what went wrong in doing so, in words."""
        self.tell("stop")
        with suppress(BrokenPipeError):
            self._control.stdin.close()  # pyright: ignore
        try:
            self._control.wait(GRACE)  # pyright: ignore
        except subprocess.TimeoutExpired:
            self._control.kill()  # pyright: ignore
            self._control.wait()  # pyright: ignore
        for thread in self._threads:
            thread.join(GRACE)
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
        for file in (self._log, self._ticks, self._requests, self._chunks):
            file.close()
        os.close(self._bell)
        self._unlock()
        wrong = [event["text"] for event in self.events.queue if event["event"] == "failed"]
        return wrong + [KILLED] * (self._control.returncode < 0)  # pyright: ignore

    def _supervise(self) -> None:
        """Start inference again where it has ended; say when control stands still."""
        self._stuck = self._stuck + 1 if time.monotonic() > self._heard + STUCK else 0
        if self._stuck == LOOKS:
            self.events.put({"event": "safety", "text": STOPPED})
        if self._worker is not None and self._worker.poll() is not None and not self._over():
            if math.isnan(self.inference_seconds):
                raise RobotError(f"the inference process has ended ({self._worker.returncode}) before it was ready")
            self.note("inference ended", code=self._worker.returncode)
            self._start_inference()

    def _over(self) -> bool:
        return self._control is not None and self._control.poll() is not None

    def restart_inference(self) -> None:
        """End an inference that hangs; the next look finds it gone."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
            self._supervise()

    def _start_inference(self) -> None:
        fds = {"requests": self._requests.fd, "chunks": self._chunks.fd}
        given = {**(self._inference or {}), **fds}
        self._worker = _python(
            "fewstep.policy.worker", given, [*fds.values()], stdin=self._bell, stdout=subprocess.PIPE
        )
        self._read(os.dup(self._worker.stdout.fileno()), self._keep_event)  # pyright: ignore
        self._worker.stdout.close()  # pyright: ignore

    def _keep_ticks(self, content: bytes) -> None:
        self._ticks.write(content)
        self._heard = time.monotonic()
        if self._heard > self._told + ALIVE:  # systemd hears of the control process, not of this one
            self._told = self._heard
            notify("WATCHDOG=1")

    def _keep_event(self, content: bytes) -> None:
        for line in content.splitlines():
            self._log.write(line.decode() + "\n")
            with suppress(json.JSONDecodeError):
                self.events.put(json.loads(line))

    def _read(self, fd: int, keep: Any) -> None:
        def work() -> None:
            with os.fdopen(fd, "rb", buffering=0) as file:
                for part in _whole_lines(file) if keep == self._keep_event else iter(lambda: file.read(PIPE), b""):
                    keep(part)

        self._threads.append(thread := threading.Thread(target=work, daemon=True))
        thread.start()

    @staticmethod
    def _pipe() -> tuple[int, int]:
        ends = os.pipe()
        with suppress(ImportError, OSError, AttributeError):
            import fcntl

            fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE)
        return ends


def notify(state: str) -> None:
    """Tell systemd, where it started this."""
    if path := os.environ.get("NOTIFY_SOCKET", ""):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def _whole_lines(file: Any) -> Iterator[bytes]:
    rest = b""
    while content := file.read(1 << 16):
        rest += content
        whole, _, rest = rest.rpartition(b"\n")
        if whole:
            yield whole


def _python(module: str, settings: Mapping[str, Any], fds: list[int], **streams: Any) -> subprocess.Popen[Any]:
    command = [sys.executable, "-m", module, json.dumps(settings)]
    return subprocess.Popen(command, pass_fds=fds, start_new_session=True, **streams)  # Ctrl-C is for the one in charge


def set_aside(folder: Path) -> None:
    """Move the log of an earlier run to earlier.1 and so on, inside `folder`; DataError while that run goes on."""
    if not (folder / EVENTS).exists():
        return
    lock(Queue(), folder / EVENTS)()
    place = next(p for n in count(1) if not (p := folder / f"earlier.{n}").exists())
    place.mkdir()
    for name in LOG:
        with suppress(FileNotFoundError):
            (folder / name).rename(place / name)


def read_ticks(folder: Path | str, state: State = State.ACTIVE) -> np.ndarray:
    """The ticks of a run in one state; RobotError where there is no such log."""
    try:
        fields = json.loads((Path(folder) / "run.json").read_text())["ticks"]
        dtype = np.dtype([(name, kind, *map(tuple, shape)) for name, kind, *shape in fields])
        ticks = np.fromfile(Path(folder) / "ticks.bin", dtype)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RobotError(f"{folder} holds no log of a run: {error}") from error
    return ticks[ticks["state"] == STATES.index(state)]


def missed(folder: Path | str, episode: int, hz: float, state: State) -> tuple[int, int]:
    """How many ticks of an episode in this state were missed, and how many there should have been."""
    ticks = read_ticks(folder, state)
    time = ticks["time"][ticks["episode"] == episode]
    due = round(np.ptp(time) * hz) + 1 if len(time) else 0
    return due - len(time), due


def latencies(folder: Path | str) -> list[float]:
    """How long each chunk of a run took to make [s]."""
    seconds = read_ticks(folder)["inference"]
    found = seconds[np.flatnonzero(np.diff(seconds, prepend=0.0))].tolist()
    if not found:
        raise RobotError(f"{folder}: no chunk was made in this run")
    return found


def tick_fields(actions: int) -> list[Any]:
    """The dtype of ticks.bin as plain values."""
    return [list(x) for x in tick_type(actions).descr]
