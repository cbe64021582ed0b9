"""The processes of a robot's cameras, seen from outside: started, watched, started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty, Queue
from typing import Any

import numpy as np

from ..errors import RobotError
from ..mailbox import Mailbox
from ..processes import listen, start
from ..schema import to_plain
from .camera_config import CameraConfig
from .process import CameraProcessConfig
from .rings import STATUS, CameraPort, PictureRing

START_SECONDS = 30.0  # for a camera to give its first picture
HANG_SECONDS = 5.0  # without a sign of life, after which a process is ended, and started again
ENDING_SECONDS = 1.0  # for a process that was killed
RETRY_SECONDS = 1.0  # between two starts of one camera


class CameraProcess:
    """One camera in a process of its own."""

    def __init__(self, name: str, config: CameraConfig) -> None:
        self._name = name
        self._config = config
        self._status = Mailbox(STATUS)
        self.ring = PictureRing(config.size, config.hz)
        self.port = CameraPort(
            name, config.height, config.width, config.hz, self._status.fd, self.ring.fd
        )
        self._heard = Queue[dict[str, Any]]()
        self._newest = np.zeros((), STATUS)
        self.trouble = ""  # that was told last
        self._failure = ""  # why a process has ended, as it was told last
        self._process = self._start(restarted=False)

    def _start(self, restarted: bool) -> subprocess.Popen[Any]:
        self._started = time.monotonic()
        process = start(
            "fewstep.envs.cameras.process",
            json.dumps(to_plain(CameraProcessConfig(self._config, self.port, restarted))),
            fds=[self.port.status, self.port.ring],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        listen(os.dup(process.stdout.fileno()), self._hear, lines=True)  # pyright: ignore
        process.stdout.close()  # pyright: ignore
        return process

    def _hear(self, line: bytes) -> None:
        with suppress(ValueError, RecursionError):
            event = json.loads(line)
            if isinstance(event, dict):
                self._heard.put(event)

    def wait_until_ready(self, end: float) -> None:
        """Return once it has given a picture; RobotError where it fails, or `end` [s] passes."""
        while time.monotonic() < end:
            try:
                event = self._heard.get(timeout=0.05)
            except Empty as error:
                code = self._process.poll()
                if code is not None and self._heard.empty():
                    raise RobotError(
                        f"the process of camera {self._name} has ended ({code})"
                    ) from error
                continue
            if event.get("event") == "camera failed":
                raise RobotError(f"camera {self._name}: {event['text']}")
            if event.get("event") == "camera ready" and event["trouble"]:
                raise RobotError(f"camera {self._name} {event['trouble']}")
            if event.get("event") == "camera ready":
                return
        raise RobotError(f"camera {self._name} has given no picture for {START_SECONDS:g} s")

    def look(self) -> list[str]:
        """Return what is new of it, in words, and start it again where it has ended or hangs."""
        said = []
        found = self._status.read()
        if found is not None:
            self._newest = found
            trouble = bytes(found["trouble"]).decode(errors="replace")
            if bool(trouble) != bool(self.trouble):
                said.append(f"camera {self._name} {trouble or 'is well again'}")
            self.trouble = trouble
        if self._process.poll() is None and self._hangs():
            self._end()
        if self._process.poll() is not None and time.monotonic() > self._started + RETRY_SECONDS:
            said += self._say_why()
            self._end()  # and whatever its driver has left behind
            self._process = self._start(restarted=True)
        return said

    def _say_why(self) -> list[str]:
        """Return why the process has ended, once for each reason."""
        why = f"({self._process.returncode})"
        with suppress(Empty):
            while True:
                why = self._heard.get_nowait().get("text", why)
        if why == self._failure:
            return []
        self._failure = why
        return [f"the process of camera {self._name} has ended: {why}; it is started again"]

    def _hangs(self) -> bool:
        alive = float(self._newest["alive"])
        if alive < self._started:
            return time.monotonic() > self._started + START_SECONDS
        return time.monotonic() > alive + HANG_SECONDS

    def close(self) -> None:
        """End it."""
        self._end()
        self._status.close()
        self.ring.close()

    def _end(self) -> None:
        """End the process and all that its driver has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # it leads a session of its own
        with suppress(subprocess.TimeoutExpired):  # the kernel may not let go of a camera
            self._process.wait(ENDING_SECONDS)
        with suppress(OSError):
            self._process.stdin.close()  # pyright: ignore


class CameraProcesses:
    """All cameras of a robot, by their names; RobotError where one gives no picture."""

    def __init__(self, cameras: Mapping[str, CameraConfig]) -> None:
        self._processes: list[CameraProcess] = []
        try:
            for name, config in cameras.items():
                self._processes.append(CameraProcess(name, config))
            end = time.monotonic() + START_SECONDS
            for process in self._processes:
                process.wait_until_ready(end)
        except BaseException:
            self.close()
            raise

    @property
    def ports(self) -> tuple[CameraPort, ...]:
        """Return where their pictures are found."""
        return tuple(process.port for process in self._processes)

    @property
    def rings(self) -> dict[str, PictureRing]:
        """Return their pictures."""
        return {process.port.name: process.ring for process in self._processes}

    @property
    def troubles(self) -> dict[str, str]:
        """Return what is wrong with each, as of the last look; "" for nothing."""
        return {process.port.name: process.trouble for process in self._processes}

    def look(self) -> list[str]:
        """Return what is new of them, in words; to be called again and again."""
        said = []
        for process in self._processes:
            said += process.look()
        return said

    def close(self) -> None:
        """End them; may be called again."""
        for process in self._processes:
            process.close()
        self._processes = []
