"""The process of a LeRobot arm: it runs in the environment of `lerobot`, which has no fewstep.

`python lerobot_bus.py FD CONFIG`: one thread owns the bus, reads the arm as often as asked, sends
it the newest target, and tells of it through the socket FD, a JSON object a message.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

SUFFIX = ".pos"
UNITS = {"degrees": "deg", "range_0_100": "%", "range_m100_100": "%"}  # by a motor's norm_mode
MOST_BYTES = 65536
# A target that has waited for longer than both is not sent any more.
FRESH_SECONDS = 0.1
FRESH_PERIODS = 3
CATCHING_UP = 1.5  # of the largest velocity, after the bus has stood still


def main(fd: int, config: dict[str, Any]) -> None:
    """Connect, say what the arm is, then read and send until asked to end, or nobody listens."""
    signal.signal(signal.SIGTERM, end)
    line = socket.socket(fileno=fd)
    line.setblocking(False)
    device = None
    holds = False
    try:
        device = make_device(config["type"], config["options"])
        device.connect(calibrate=False)
        described = describe(device, config["type"])
        holds = not described["leads"] and described["releases"]
        tell(line, described)
        Bus(line, device, described["names"], config).serve()
    except Exception as error:
        tell(line, {"failed": said(error)})
    finally:
        if device is not None and device.is_connected:
            let_go(device, config["hold_seconds"] if holds else 0.0)


def end(*_: object) -> None:
    """End as if asked to, which holds the arm and lets it go."""
    raise SystemExit


def make_device(kind: str, options: dict[str, Any]) -> Any:
    """Return the robot or teleoperator of a registered type, of lerobot itself or of a plug-in."""
    import draccus  # pyright: ignore
    from lerobot import robots, teleoperators  # pyright: ignore
    from lerobot.robots import RobotConfig, make_robot_from_config  # pyright: ignore
    from lerobot.teleoperators import TeleoperatorConfig, make_teleoperator_from_config  # pyright: ignore
    from lerobot.utils.import_utils import register_third_party_plugins  # pyright: ignore

    for package in (robots, teleoperators):
        for found in pkgutil.iter_modules(package.__path__):
            with suppress(Exception):  # a device whose own library is not installed
                importlib.import_module(f"{package.__name__}.{found.name}")
    register_third_party_plugins()
    families = [
        (RobotConfig, make_robot_from_config),
        (TeleoperatorConfig, make_teleoperator_from_config),
    ]
    known: list[str] = []
    for family, make in families:
        choices = family.get_known_choices()
        known += choices
        if kind in choices:
            return make(draccus.decode(choices[kind], options))
    raise ValueError(f"lerobot has no {kind!r}; it has {', '.join(sorted(known))}")


def describe(device: Any, kind: str) -> dict[str, Any]:
    """Return names, units and ranges of what is measured and commanded, in the same order."""
    if not device.is_calibrated:
        raise RuntimeError(
            f"the arm is not calibrated: lerobot-calibrate --robot.type={kind} "
            "(--teleop.type for a leader), with the same port and id"
        )
    keys = [key for key, feature in device.action_features.items() if feature is float]
    others = set(keys) - set(getattr(device, "observation_features", keys))
    if not keys or others:
        raise RuntimeError(
            "this is for arms that measure each joint that they are told of; not measured: "
            + (", ".join(sorted(others)) or "anything")
        )
    bus = getattr(device, "bus", None)
    described = [describe_motor(bus, key[: -len(SUFFIX)]) for key in keys]
    config = getattr(device, "config", None)
    return {
        "names": keys,
        "units": [unit for unit, _ in described],
        "ranges": [bounds for _, bounds in described],
        "leads": is_leader(device),
        "relative": getattr(config, "max_relative_target", None),
        "releases": bool(getattr(config, "disable_torque_on_disconnect", True)),
    }


def describe_motor(bus: Any, motor: str) -> tuple[str, list[float] | None]:
    """Return a motor's unit and what its calibration lets it reach; None where that is unknown."""
    try:
        norm = bus.motors[motor].norm_mode.value
        if norm == "range_0_100":
            return UNITS[norm], [0.0, 100.0]
        if norm == "range_m100_100":
            return UNITS[norm], [-100.0, 100.0]
        steps = bus.model_resolution_table[bus.motors[motor].model] - 1
        calibrated = bus.calibration[motor]
        half = 0.5 * (calibrated.range_max - calibrated.range_min) * 360 / steps
        return UNITS[norm], [-half, half]
    except (AttributeError, KeyError, TypeError):
        return "", None


def is_leader(device: Any) -> bool:
    """Return whether this is led by a hand, and takes no targets."""
    return not hasattr(device, "get_observation")


class Bus:
    """Reads and sends, in turn; what fails is told, and tried again.

    A target that is older than a few periods is not sent any more, and none is farther from the
    last than `velocity` allows: after a bus has stood still, the arm catches up and does not jump.
    """

    def __init__(
        self, line: socket.socket, device: Any, names: list[str], config: dict[str, Any]
    ) -> None:
        self.line = line
        self.device = device
        self.names = names
        self.period = 1 / config["hz"]
        self.step = CATCHING_UP * config["velocity"] * self.period
        self.wanted: list[float] | None = None  # and not sent yet
        self.since = 0.0  # when it was wanted [s]
        self.last: list[float] = []  # sent, or measured before anything was

    def serve(self) -> None:
        """Go on until asked to end, or nobody listens."""
        due = time.monotonic()
        while self.take_orders():
            try:
                report = self.turn()
            except Exception as error:
                report = {"error": said(error)}
            if not tell(self.line, report):
                return
            due = max(due + self.period, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    def turn(self) -> dict[str, Any]:
        """Send what is wanted, read, and return what was measured."""
        leads = is_leader(self.device)
        fresh = time.monotonic() - self.since < max(FRESH_SECONDS, FRESH_PERIODS * self.period)
        if self.wanted is not None and self.last and not leads and fresh:
            target = [
                self.near(new, last) for new, last in zip(self.wanted, self.last, strict=True)
            ]
            self.device.send_action(dict(zip(self.names, target, strict=True)))
            self.last = target
            if target == self.wanted:
                self.wanted = None
        began = time.monotonic()
        values = self.device.get_action() if leads else self.device.get_observation()
        measured = [float(values[name]) for name in self.names]
        self.last = self.last or measured
        return {"time": 0.5 * (began + time.monotonic()), "values": measured}

    def near(self, new: float, last: float) -> float:
        """Return a target no farther from the last than may be."""
        return min(max(new, last - self.step), last + self.step)

    def take_orders(self) -> bool:
        """Take the newest target; return whether to go on."""
        while True:
            try:
                order = json.loads(self.line.recv(MOST_BYTES))
            except (BlockingIOError, InterruptedError):
                return True
            except (OSError, ValueError):
                return False
            if order.get("end"):
                return False
            self.wanted = order["target"]
            self.since = order["time"]


def tell(line: socket.socket, report: dict[str, Any]) -> bool:
    """Send a report, or drop it where the other end does not keep up; False where it is gone."""
    try:
        line.send(json.dumps(report).encode())
    except (BlockingIOError, InterruptedError):
        return True
    except OSError:
        return False
    return True


def let_go(device: Any, hold_seconds: float) -> None:
    """Hold the last target for a while, then disconnect, which lets an arm's torque go."""
    if hold_seconds:
        print(
            f"the arm holds for {hold_seconds:g} s, then its torque is let go: support it now",
            file=sys.stderr,
            flush=True,
        )
    time.sleep(hold_seconds)
    try:
        device.disconnect()
    except Exception as error:
        print(
            f"the arm could not be let go, its torque may still be on: {said(error)}",
            file=sys.stderr,
            flush=True,
        )
        raise SystemExit(1) from error


def said(error: Exception) -> str:
    """Return an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
