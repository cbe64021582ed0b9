"""Arms of LeRobot, in a process and an environment of their own."""

from __future__ import annotations

import json
import math
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ..clock import WallClock
from ..errors import ConfigError, RobotError
from ..robot import Command, Obs, Outcome
from ..spec import Field, Spec

PROGRAM = Path(__file__).with_name("lerobot_bus.py")
START_SECONDS = 60.0  # for lerobot to be imported, and the arm to answer
ENDING_SECONDS = 5.0  # for the process to end, beside the time that it holds the arm
MOST_BYTES = 65536
GRIPPER = "gripper"
SUFFIX = ".pos"


class LeRobotArm:
    """A robot or leader arm of an installed `lerobot`, by its registered type.

    The bus is owned by a process of its own, which reads and writes in turn, `hz` times a second:
    `observe` gives its newest sample with its stamp, and `command` hands the newest target over.
    A target counts for a few periods: whoever commands goes on commanding, as the control loop
    does. Where the arm's torque goes when it is let go, `close` holds first, and says so.

    Args:
        type: As lerobot registers it: so101_follower.
        python: The Python of the environment that has lerobot, by default this one.
        policy_hz: Rate at which a policy sees and acts [Hz].
        hz: Rate of commands [Hz].
        velocity: Largest of every joint, in its unit (degrees or per cent) per second.
        acceleration: Largest of every joint, in its unit per second squared.
        hold_seconds: That the arm is held before its torque is let go [s].
        settings: Of the arm, as lerobot knows them: port, id, use_degrees, max_relative_target.

    Raises:
        RobotError: lerobot or the arm is not there, or the arm is not calibrated.
    """

    def __init__(
        self,
        type: str,
        *,
        python: str = sys.executable,
        policy_hz: float = 30.0,
        hz: float = 60.0,
        velocity: float = 60.0,
        acceleration: float = 240.0,
        hold_seconds: float = 2.0,
        **settings: Any,
    ) -> None:
        if settings.get("cameras"):
            raise ConfigError(
                "cameras of lerobot are left out: give them to fewstep, whose cameras never keep "
                "the arm waiting"
            )
        rates = {"hz": hz, "policy_hz": policy_hz, "velocity": velocity}
        _require(rates | {"acceleration": acceleration}, above=0.0)
        _require({"hold_seconds": hold_seconds}, above=-1e-9)
        self.clock = WallClock()
        self._name = f"lerobot:{type}"
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.setblocking(False)
        config = {
            "type": type,
            "options": settings,
            "hz": hz,
            "velocity": velocity,
            "hold_seconds": hold_seconds,
        }
        self._is_closed = False
        self._let_go_seconds = hold_seconds + ENDING_SECONDS
        self._target: np.ndarray | None = None
        self._process = self._start(python, theirs, config)
        try:
            told = self._wait_for("names")
            self._spec = _make_spec(told, policy_hz, hz, velocity, acceleration)
            self._trouble = ""
            self._take(self._wait_for("values"))
            self._leads = bool(told["leads"])
        except BaseException:
            with suppress(RobotError):
                self.close()
            raise

    @property
    def spec(self) -> Spec:
        """What the arm measures and accepts, in lerobot's units."""
        return self._spec

    def _start(
        self, python: str, theirs: socket.socket, config: Mapping[str, Any]
    ) -> subprocess.Popen[bytes]:
        with theirs:
            command = [
                str(Path(python).expanduser()),
                str(PROGRAM),
                str(theirs.fileno()),
                json.dumps(config),
            ]
            try:
                return subprocess.Popen(
                    command,
                    pass_fds=[theirs.fileno()],
                    # Like -P, which lerobot's own Python may be too old for.
                    env={**os.environ, "PYTHONSAFEPATH": "1"},
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for the one in charge
                )
            except OSError as error:
                self._line.close()
                raise RobotError(f"{self._name}: {python} cannot be started: {error}") from error

    def _wait_for(self, key: str) -> dict[str, Any]:
        """Return the first report with this key; RobotError where the process fails or ends."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            select.select([self._line], [], [], 0.05)
            for report in self._reports():
                if "failed" in report or "error" in report:
                    said = report.get("failed") or report["error"]
                    raise RobotError(f"{self._name}: {said}")
                if key in report:
                    return report
            if self._process.poll() is not None and not select.select([self._line], [], [], 0)[0]:
                raise RobotError(
                    f"{self._name}: its process has ended ({self._process.returncode}); is lerobot "
                    "installed there? options.python=<the Python that has it>"
                )
        raise RobotError(f"{self._name} has not answered for {START_SECONDS:g} s")

    def _reports(self) -> list[dict[str, Any]]:
        """Return what has been told since the last time."""
        reports = []
        while True:
            try:
                reports.append(json.loads(self._line.recv(MOST_BYTES)))
            except (BlockingIOError, InterruptedError, ConnectionError):
                return reports

    def _take(self, report: Mapping[str, Any]) -> None:
        self._trouble = report.get("error", "")
        if "values" in report:
            self._measured = np.array(report["values"])
            self._time = float(report["time"])

    def reset(self, seed: int | None = None) -> None:
        """Do nothing: a person, or a policy, brings the arm where it should begin."""

    def observe(self) -> Obs:
        """Return the newest sample; RobotError says what the arm answered instead of one."""
        for report in self._reports():
            self._take(report)
        if self._process.poll() is not None:
            raise RobotError(f"{self._name}: its process has ended ({self._process.returncode})")
        if self._trouble:
            raise RobotError(f"{self._name}: {self._trouble}")
        now = self.clock.now()
        data = {}
        for key, part in self._spec.slices().items():
            data[key] = self._measured[part].astype(np.float32)
        return Obs(now, data, dict.fromkeys(data, min(now, self._time)))

    def command(self, command: Command) -> np.ndarray:
        """Hand a target over, and return it; None holds the last one, or where the arm stands."""
        low, high = self._spec.bounds()
        if command.action is not None:
            self._hand_over(np.asarray(command.action, float), low, high)
        if self._target is None:
            return np.clip(self._measured, low, high)
        return self._target.copy()

    def _hand_over(self, action: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        if self._leads:
            raise RobotError(f"{self._name} is led by a hand, and takes no target")
        if action.shape != low.shape or not np.isfinite(action).all():
            raise RobotError(f"{self._name} takes {low.size} numbers, not {action}")
        target = np.clip(action, low, high)
        order = json.dumps({"target": target.tolist(), "time": time.monotonic()}).encode()
        try:
            self._line.send(order)
        except BlockingIOError as error:
            raise RobotError(f"{self._name} takes no target: its bus stands still") from error
        except OSError as error:
            raise RobotError(f"{self._name}: its process has ended") from error
        self._target = target

    def outcome(self) -> Outcome | None:
        """Return None: nobody judges it."""
        return None

    def close(self) -> None:
        """Let the arm go, as its process says; may be called again.

        Raises RobotError where it may not have been let go.
        """
        with suppress(OSError):
            self._line.send(json.dumps({"end": True}).encode())
        self._line.close()  # which ends it as well, where its queue is full
        try:
            code = self._process.wait(self._let_go_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code and not self._is_closed:
            self._is_closed = True
            raise RobotError(
                f"{self._name}: its process has ended with {code}: the torque may still be on"
            )


def _require(numbers: Mapping[str, Any], above: float) -> None:
    """Raise ConfigError for what is no number, or too small, before the arm is powered."""
    for name, number in numbers.items():
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not above < number < math.inf:
            wanted = "above 0" if above == 0 else "0 or more"
            raise ConfigError(f"options.{name} must be {wanted}, not {number!r}")


def _make_spec(
    told: Mapping[str, Any], policy_hz: float, hz: float, velocity: float, acceleration: float
) -> Spec:
    """Return a field for each run of joints with one unit, a gripper apart."""
    observations: dict[str, Field] = {}
    actions: dict[str, Field] = {}
    for key, rows in _group(told).items():
        names = tuple(row["name"] for row in rows)
        unit = rows[0]["unit"]
        fastest = [min(velocity, row["relative"] * hz) for row in rows]
        bounds = [row["range"] or (-math.inf, math.inf) for row in rows]
        is_bounded = all(row["range"] for row in rows)
        observations[key] = Field((len(rows),), unit, names=names)
        actions[key] = Field(
            (len(rows),),
            unit,
            names=names,
            low=tuple(low for low, _ in bounds) if is_bounded else (),
            high=tuple(high for _, high in bounds) if is_bounded else (),
            measured_by=key,
            velocity=tuple(fastest),
            acceleration=(acceleration,) * len(rows),
        )
    return Spec(observations, actions, policy_hz, hz)


def _group(told: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the joints by the key of their field, in their order."""
    rows: list[dict[str, Any]] = []
    for name, unit, reach in zip(told["names"], told["units"], told["ranges"], strict=True):
        motor = name.removesuffix(SUFFIX)
        largest = _relative(told["relative"], motor)
        rows.append({"name": motor, "unit": unit, "range": reach, "relative": largest})
    groups: dict[str, list[dict[str, Any]]] = {}
    for (unit, is_gripper), found in groupby(rows, lambda r: (r["unit"], r["name"] == GRIPPER)):
        key = GRIPPER if is_gripper else "joints"
        while key in groups:
            key += f"_{unit or len(groups)}"
        groups[key] = list(found)
    return groups


def _relative(limit: Any, motor: str) -> float:
    """Return lerobot's largest step of a motor per command; infinite where it has none."""
    if isinstance(limit, Mapping):
        limit = limit.get(motor)
    return math.inf if limit is None else float(limit)
