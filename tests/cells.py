"""A bad robot at work, alone or with a person who records: what a test makes go wrong, and when."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bad_robot
import motion
import numpy as np

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs.teleop.drive import Hand
from fewstep.policy.cli.main import main

HZ = 100.0


def write_demos(folder: Path, seconds: float) -> Path:
    """So long all joints are in motion, near their largest velocity."""
    path, spec = folder / "demos", bad_robot.spec(HZ)
    t = np.arange(round(seconds * spec.policy_hz)) / spec.policy_hz
    action = (0.5 * np.sin(1.8 * t)[:, None] + [0.1, 0.2, 0.3]).astype(np.float32)
    with DemoStore.create(path, spec) as store:
        store.append(Episode({"joints": action, "action": action, "time": t}, spec))
    return path


def until(found: Callable[[], Any]) -> None:
    """Wait; nothing here takes longer than half a minute."""
    end = time.monotonic() + 30
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


class Cell:
    """A bad robot, what goes wrong with it and when, and what became of that."""

    def __init__(self, folder: Path, demos: Path) -> None:
        self.log, self.trouble, self.out = folder / "motors", folder / "trouble", folder / "out"
        self._demos = demos

    def cause(self, **trouble: Any) -> None:
        """Let something go wrong from now on, and nothing else."""
        beside = self.trouble.with_suffix(".new")
        beside.write_text(json.dumps(trouble))
        beside.rename(self.trouble)

    def later(self, seconds: float, *troubles: dict[str, Any], pause: float = 0.1) -> None:
        """Cause one trouble after the other, from so long after motion begins."""

        def work() -> None:
            until(lambda: self.commands() and np.ptp(self.commands()[-20:], axis=0).max() > 1e-3)
            time.sleep(seconds)
            for trouble in troubles:
                self.cause(**trouble)
                time.sleep(pause)

        threading.Thread(target=work, daemon=True).start()

    def run(self, *more: str, hz: float = HZ) -> int:
        options = [
            f"+options.log={self.log}",
            f"+options.trouble={self.trouble}",
            f"+options.hz={hz}",
        ]
        who = (
            []
            if any(m.startswith(("policy=", "calibrate=")) for m in more)
            else [f"actions={self._demos}"]
        )
        return main(
            [
                "run",
                "robot=bad_robot:BadRobot",
                *options,
                *who,
                "unattended=true",
                f"out={self.out}",
                *more,
            ]
        )

    def commands(self) -> list[Any]:
        return [
            r["action"]
            for r in motion.records(self.log)
            if r["kind"] == "command" and r["action"] is not None
        ]

    def said(self) -> str:
        log = self.out / "events.jsonl"
        return log.read_text() if log.exists() else ""

    def events(self, name: str) -> int:
        """How often this was said."""
        return self.said().count(f'"event": "{name}"')

    def resets(self) -> int:
        return sum(r["kind"] == "reset" for r in motion.records(self.log))


class Keys:
    """A keyboard on which a test types."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.move = np.zeros(7)

    def read(self) -> Hand:
        events, self.events = tuple(self.events), []
        return Hand(self.move, events)

    def close(self) -> None:
        pass


class Booth(Cell):
    """A bad robot with a person who records."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        super().__init__(folder, folder / "none")
        self.over = False
        self.keys, self.leader, self.store = keys, folder / "leader", folder / "recorded"

    def record(
        self, script: Callable[[], None], *more: str, teleop: str = "bad_robot:BadLeader"
    ) -> int:
        options = [
            f"+options.log={self.log}",
            f"+options.trouble={self.trouble}",
            f"out={self.out}",
        ]
        self._follow(script)
        who = ["robot=bad_robot:BadRobot", f"teleop={teleop}", f"data={self.store}"]
        try:
            return main(["record", *who, *options, *more])
        finally:
            self.over = True

    def _follow(self, script: Callable[[], None]) -> None:
        """Do what the script says; where it cannot go on, nobody would end the recording."""

        def work() -> None:
            try:
                script()
            except BaseException:
                os.kill(os.getpid(), signal.SIGINT)
                raise

        threading.Thread(target=work, daemon=True).start()

    def says(self, word: str) -> None:
        self.keys.events.append(word)

    def ready(self) -> None:
        until(lambda: self.events("ready"))

    def keep(self, episodes: range) -> None:
        """Begin and keep these episodes, until the recording is over."""
        for k in episodes:
            self.says("start")
            until(lambda k=k: self.over or self.events("begins") > k)
            if self.over:
                return
            time.sleep(8.0 if k == episodes.start else 3.0)
            self.says("success")
            until(lambda k=k: self.over or self.events("ended") > k)
