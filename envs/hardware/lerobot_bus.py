"""The process of a LeRobot arm: it runs in the environment of `lerobot`, which has no fewstep.

`python lerobot_bus.py FD CONFIG`: one thread owns the bus, reads the arm as often as asked, sends
it the newest target, and tells of it through the socket FD, a JSON object a message.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import socket
import sys
import time
from typing import Any

SUFFIX = ".pos"
UNITS = {"degrees": "deg", "range_0_100": "%", "range_m100_100": "%"}  # by a motor's norm_mode
MOST_BYTES = 65536


def main(fd: int, config: dict[str, Any]) -> None:
    """Connect, say what the arm is, then read and send until asked to end, or nobody listens."""
    line = socket.socket(fileno=fd)
    line.setblocking(False)
    try:
        device = make_device(config["type"], config["options"])
        device.connect(calibrate=False)
        described = describe(device, config["type"])
    except Exception as error:
        tell(line, {"failed": said(error)})
        return
    tell(line, described)
    try:
        serve(line, device, described["names"], 1 / config["hz"])
    finally:
        let_go(device, config["hold_seconds"], described["releases"])


def make_device(kind: str, options: dict[str, Any]) -> Any:
    """Return the robot or teleoperator of a registered type, of lerobot itself or of a plug-in."""
    import draccus  # pyright: ignore
    from lerobot import robots, teleoperators  # pyright: ignore
    from lerobot.robots import RobotConfig, make_robot_from_config  # pyright: ignore
    from lerobot.teleoperators import TeleoperatorConfig, make_teleoperator_from_config  # pyright: ignore
    from lerobot.utils.import_utils import register_third_party_plugins  # pyright: ignore

    for package in (robots, teleoperators):
        for found in pkgutil.iter_modules(package.__path__):
            try:
                importlib.import_module(f"{package.__name__}.{found.name}")
            except Exception:
                continue
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


def serve(line: socket.socket, device: Any, names: list[str], period: float) -> None:
    """Read and send, in turn; what fails is told, and tried again."""
    is_leader = not hasattr(device, "get_observation")
    read = device.get_action if is_leader else device.get_observation
    due = time.monotonic()
    while True:
        wanted, asked_to_end = newest(line)
        if asked_to_end:
            return
        report: dict[str, Any] = {}
        try:
            if wanted is not None and not is_leader:
                device.send_action(dict(zip(names, wanted, strict=True)))
            began = time.monotonic()
            values = read()
            report["time"] = 0.5 * (began + time.monotonic())
            report["values"] = [float(values[name]) for name in names]
        except Exception as error:
            report = {"error": said(error)}
        if not tell(line, report):
            return
        due = max(due + period, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def newest(line: socket.socket) -> tuple[list[float] | None, bool]:
    """Return the newest target, None where there is no new one, and whether to end."""
    wanted = None
    while True:
        try:
            order = json.loads(line.recv(MOST_BYTES))
        except (BlockingIOError, InterruptedError):
            return wanted, False
        except (OSError, ValueError):
            return None, True
        if order.get("end"):
            return None, True
        wanted = order["target"]


def tell(line: socket.socket, report: dict[str, Any]) -> bool:
    """Send a report, or drop it where the other end does not keep up; False where it is gone."""
    try:
        line.send(json.dumps(report).encode())
    except (BlockingIOError, InterruptedError):
        return True
    except OSError:
        return False
    return True


def let_go(device: Any, hold_seconds: float, releases: bool) -> None:
    """Hold the last target for a while, then disconnect, which lets an arm's torque go."""
    if releases:
        print(
            f"the arm holds for {hold_seconds:g} s, then its torque is let go: support it now",
            file=sys.stderr,
            flush=True,
        )
    time.sleep(hold_seconds)
    device.disconnect()


def said(error: Exception) -> str:
    """Return an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
