"""A bad robot: a driver that does all that drivers do on bad days, and a recorder of what its
motors were sent.

`robot=bad_robot:BadRobot` with `tests` on the path. `trouble` is a JSON file that is read again
when it changes, so that a test can make things go wrong when it likes; `log` is where the recorder
writes, one JSON object a line.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from fewstep.envs import Command, Field, Obs, Outcome, Spec

JOINTS, LAG = 3, 0.03  # s: time constant of the servos
LOW, HIGH, VELOCITY, ACCELERATION = -2.0, 2.0, 1.0, 5.0


def spec(hz: float = 100.0, camera: bool = False, joints: int = JOINTS) -> Spec:
    low, high, fast, hard = ((x,) * joints for x in (LOW, HIGH, VELOCITY, ACCELERATION))
    field = Field((joints,), "rad", "linear", (), low, high, "joints", fast, hard)
    eye = {"camera": Field((4, 4, 3), kind="image")} if camera else {}
    return Spec({"joints": Field((joints,), "rad"), **eye}, {"joints": field}, 20.0, hz)


class BadClock:
    """Real time, until it is set back or stands still."""

    def __init__(self) -> None:
        self.back, self.stopped = 0.0, None

    def now(self) -> float:
        return time.monotonic() - self.back if self.stopped is None else self.stopped

    def wait_until(self, deadline: float) -> None:
        while self.now() < deadline:
            time.sleep(0.001)


class BadRobot:
    """Joints that follow their targets with a lag. What can go wrong is the keys of `TROUBLE`."""

    TROUBLE: dict[str, Any] = {  # noqa: RUF012
        "offset": 0.0,  # rad that the first encoder is off
        "freeze": False,  # the same observation for ever
        "hang": 0.0,  # s that one observation takes, once
        "deaf": False,  # commands raise
        "blind": False,  # observations raise
        "chatty": False,  # observations raise, each time with another text
        "sink": 0.0,  # rad/s at which the first joint gives way
        "stuck": False,  # the joints do not move
        "camera_late": 0.0,  # s
        "clock_back": 0.0,  # s
        "clock_stops": False,
        "home": None,  # pose that reset moves to
        "home_seconds": 0.0,  # that reset takes
        "reset_raises": False,  # after it has moved
        "begin": 0.0,  # pose of every joint at the beginning
        "constructor_raises": False,
    }

    def __init__(
        self,
        log: str = "",
        trouble: str = "",
        hz: float = 100.0,
        camera: bool = False,
        joints: int = JOINTS,
        password: str = "",
    ) -> None:
        self.spec, self.clock = spec(hz, camera, joints), BadClock()
        self._log = open(log, "a", buffering=1) if log else None  # noqa: SIM115
        self._file = Path(trouble) if trouble else None
        self._changed, self._trouble, self._hung = 0, dict(self.TROUBLE), 0.0
        self._look()
        self._at = np.full(joints, float(self._trouble["begin"]))
        self._target, self._time, self._sunk = self._at.copy(), time.monotonic(), 0.0
        self._last: Obs | None = None
        self._say("made", at=self._at.tolist())

    def reset(self, seed: int | None = None) -> None:
        self._look()
        self._say("reset", at=self._at.tolist())
        self._advance()
        begun, start = time.monotonic(), self._at.copy()
        home = start if self._trouble["home"] is None else np.array(self._trouble["home"], float)
        try:
            while (
                share := (time.monotonic() - begun) / max(self._trouble["home_seconds"], 1e-3)
            ) < 1:
                self._target = self._at = start + share * (home - start)
                time.sleep(0.01)
            self._target = self._at = home
            if self._trouble["reset_raises"]:
                raise OSError("homing switch not found")
        finally:
            self._time = time.monotonic()
            self._say(
                "reset ends",
                at=self._at.tolist(),
                moved=bool(np.abs(self._at - start).max() > 1e-9),
            )

    def observe(self) -> Obs:
        self._look()
        t = self._trouble
        if t["hang"] and t["hang"] != self._hung:
            self._hung = t["hang"]
            time.sleep(t["hang"])
        now = self.clock.now()
        if t["blind"]:
            raise OSError("No such device")
        if t["chatty"]:
            raise OSError(f"bus error {time.monotonic_ns()}")
        if t["freeze"] and self._last is not None:
            return self._last
        self._advance()
        joints = self._at.copy()
        joints[0] += t["offset"] - self._sunk
        data: dict[str, Any] = {"joints": joints.astype(np.float32)}
        stamps = {"joints": now}
        if "camera" in self.spec.observations:
            data["camera"], stamps["camera"] = np.zeros((4, 4, 3), np.uint8), now - t["camera_late"]
        self._last = Obs(now, data, stamps)
        return self._last

    def command(self, command: Command) -> np.ndarray:
        if self._trouble["deaf"]:
            raise OSError("no answer on the bus")
        self._advance()
        sent = None if command.action is None else command.action.tolist()
        self._say(
            "command",
            action=sent,
            dtype=str(getattr(command.action, "dtype", "")),
            source=command.source,
        )
        if command.action is not None:
            self._target = np.array(command.action, float)
        return self._target.copy()

    def outcome(self) -> Outcome | None:
        return None

    def close(self) -> None:
        self._say("close", at=self._at.tolist())

    def _advance(self) -> None:
        now = time.monotonic()
        passed, self._time = now - self._time, now
        if not self._trouble["stuck"]:
            self._at = self._at + (1 - np.exp(-passed / LAG)) * (self._target - self._at)
        self._sunk += self._trouble["sink"] * passed

    def _look(self) -> None:
        if self._file is None or not self._file.exists():
            return
        if (changed := os.stat(self._file).st_mtime_ns) != self._changed:
            self._changed = changed
            self._trouble = self.TROUBLE | json.loads(self._file.read_text())
            self.clock.back = self._trouble["clock_back"]
            self.clock.stopped = self.clock.stopped or (
                self.clock.now() if self._trouble["clock_stops"] else None
            )
            if self._trouble["constructor_raises"]:
                raise OSError("no arm is connected")

    def _say(self, kind: str, **more: Any) -> None:
        if self._log is not None:
            self._log.write(json.dumps({"t": time.monotonic(), "kind": kind, **more}) + "\n")


class BadLeader:
    """A leader arm that a person swings, a radian away from where the follower begins.

    `BAD_LEADER` is its trouble.
    """

    def __init__(self) -> None:
        self.spec, self.clock = spec(), BadClock()
        self._begun, self._file = time.monotonic(), Path(os.environ["BAD_LEADER"])

    def reset(self, seed: int | None = None) -> None:
        raise AssertionError("a leader is in a person's hand: nobody resets it")

    def observe(self) -> Obs:
        trouble = json.loads(self._file.read_text()) if self._file.exists() else {}
        if trouble.get("lost"):
            raise OSError("No such device: /dev/ttyACM1")
        if trouble.get("hang"):
            time.sleep(trouble["hang"])
            self._file.write_text(json.dumps(trouble | {"hang": 0}))
        now = self.clock.now()
        pose = trouble.get("centre", 1.0) + 0.3 * np.sin(
            2 * (time.monotonic() - self._begun)
        ) * np.array([1.0, 0.5, -1.0])
        return Obs(now, {"joints": pose.astype(np.float32)}, {"joints": now})

    def command(self, command: Command) -> np.ndarray:
        raise AssertionError("nobody commands a leader")

    def outcome(self) -> Outcome | None:
        return None

    def close(self) -> None:
        pass
