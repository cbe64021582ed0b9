"""`fewstep run` in a process of its own, so that a test can do to it what it likes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewstep.envs.control.control_loop import tick_type
from fewstep.envs.hardware.registry import make_live
from fewstep.envs.safety.states import State
from fewstep.policy.checkpoint import save_policy
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

OPTIONS = ("+options.hz=100", "+options.joints=3")
PATIENT = (
    "watchdog.action_seconds=30",
    "watchdog.observation_seconds=10",
)  # a busy machine is no fault of theirs
ARM = make_live("simulated", {"hz": 100, "joints": 3}).spec
HZ, STATES = 100, tuple(State)


def ticks(out: Path) -> np.ndarray:
    size = tick_type(3, 1).itemsize
    content = (out / "ticks.bin").read_bytes()
    return np.frombuffer(content[: len(content) // size * size], tick_type(3, 1))


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def save_small_policy(folder: Path, action_steps: int = 8) -> Policy:
    """Save a policy of the arm with random weights, and return it."""
    torch.manual_seed(0)
    net = UnetConfig(channels=(8, 16), groups=4, condition=16, time_size=16)
    policy = Policy(ARM, PolicyConfig(horizon=16, action_steps=action_steps, net=net))
    save_policy(policy, folder, {})
    return policy


@contextmanager
def nodes(policy: Path, out: Path) -> Iterator[Callable[..., "Live"]]:
    """Start nodes with further settings; what is left of them is killed at the end."""
    made: list[Live] = []
    yield lambda *more: made.append(Live(policy, out, *more)) or made[-1]
    for node in made:
        node.kill()


class Live:
    """A node in a thread, so that a test can do to its processes what it likes."""

    def __init__(self, policy: Path | str, out: Path, *more: str) -> None:
        self.out, self._said = out, out.with_name("said")
        settings = [
            f"policy={policy}",
            "robot=simulated",
            *OPTIONS,
            "unattended=true",
            "seconds=30",
            f"out={out}",
        ]
        command = [sys.executable, "-m", "fewstep.policy.cli.main", "run", *settings, *more]
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        """On its terminal, in one line."""
        return " ".join(self._said.read_text().split())

    def pid(self, event: str) -> int:
        """Of the process that said so last."""
        return [e["pid"] for e in events(self.out) if e["event"] == event][-1]

    def until(self, found: Callable[[], Any], seconds: float = 150.0) -> None:
        end = time.monotonic() + seconds
        while not (self.out / "events.jsonl").exists() or not found():
            assert time.monotonic() < end and self.process.poll() is None, events(self.out)
            time.sleep(0.02)

    def type(self, text: str) -> None:
        """On its keyboard."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def acting(self) -> None:
        """Wait until actions have been sent for a while."""
        active = STATES.index(State.ACTIVE)
        self.until((self.out / "ticks.bin").exists)
        self.until(lambda: (ticks(self.out)["state"] == active).sum() > 80)

    def end(self, seconds: float = 120.0) -> int:
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End all of its processes that are still there."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
