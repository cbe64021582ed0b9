"""The inference process seen from outside.

It is started, started again where it ends, and ended where it hangs.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...envs import RobotError
from ...envs.control.messages import Messages
from ...envs.mailbox import Mailbox
from ...envs.processes import listen, start
from ...envs.schema import to_plain
from ..engines.remote import is_address
from .inference_config import InferenceConfig

TRIES = 3  # in a row that an inference may end before it is ready


class Inference:
    """A policy in a process of its own, and the mailboxes through which it is asked.

    on_line: is given each line that the process says.
    bell: the end of a pipe that wakes it up, for the one who asks.
    """

    def __init__(
        self, config: InferenceConfig, messages: Messages, on_line: Callable[[bytes], None]
    ) -> None:
        self._on_line = on_line
        self.requests = Mailbox(messages.request)
        self.chunks = Mailbox(messages.chunk)
        self._config = replace(config, requests=self.requests.fd, chunks=self.chunks.fd)
        self._awake, self.bell = os.pipe()
        os.set_blocking(self.bell, False)
        self.ready = False
        self.seconds = math.nan  # that a chunk took to make, at the start
        self._tries = 0
        self._process = self._start()

    def note(self, event: dict[str, Any]) -> None:
        """Take note of what the process said of itself: only its newest counts."""
        if event["event"] == "inference ready" and event["pid"] == self._process.pid:
            self.ready = True
            self.seconds = event["seconds"]
            self._tries = 0

    def look(self) -> int | None:
        """Start it again where it has ended, and return its exit code then.

        RobotError where that leads nowhere.
        """
        code = self._process.poll()
        if code is None:
            return None
        self._tries += not self.ready
        if math.isnan(self.seconds) or self._tries >= TRIES:
            raise RobotError(f"the inference process has ended ({code}) before it was ready")
        self._process = self._start()
        return code

    def end_hanging(self) -> None:
        """End a process that has been ready and does not answer.

        One that is still loading is left alone, and one that asks a server, which may come again.
        """
        if self.ready and not is_address(self._config.policy):
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for fd in (self._awake, self.bell):
            os.close(fd)
        self.requests.close()
        self.chunks.close()

    def _start(self) -> subprocess.Popen[Any]:
        self.ready = False
        process = start(
            "fewstep.policy.serving.inference",
            json.dumps(to_plain(self._config)),
            fds=[self.requests.fd, self.chunks.fd, *(port.ring for port in self._config.cameras)],
            stdin=self._awake,
            stdout=subprocess.PIPE,
        )
        listen(os.dup(process.stdout.fileno()), self._on_line, lines=True)  # pyright: ignore
        process.stdout.close()  # pyright: ignore
        return process
