"""The log of a run as a bag of ROS 2 in MCAP, for PlotJuggler, Foxglove and `ros2 bag`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..atomic_files import new_folder
from ..errors import RobotError, refusing
from ..ros2.types import (
    DURATION,
    FLOAT64,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    JOINT_TRAJECTORY_POINT,
    STRING,
    Types,
)
from ..spec import Spec
from .control_loop import STATES
from .log_reading import read_all_ticks, read_chunks, read_facts
from .telemetry import EVENTS

ACTIONS = ("measured", "wanted", "limited", "sent")  # of a tick, a topic each
DISTRO = "humble"  # whose types every later one reads, too
BAG_VERSION = 9  # of rosbag2's metadata
MOST_SECONDS = 2**31  # of a time in ROS 2


class Message(NamedTuple):
    """One line of a bag; time: of the robot's clock [s]."""

    topic: str
    kind: str
    time: float
    content: Any


def write_bag(folder: Path | str, out: Path | str) -> int:
    """Write the log of a run into a new folder, and return how many messages it holds.

    Topics are /measured, /wanted, /limited and /sent (JointState; a tick without a command has no
    /wanted), /chunk (JointTrajectory), /lateness (Float64 [s]), /state where it changes, and
    /events (String). Moments that a bag has no time for are left out. RobotError where there is no
    such log, or no rosbags.
    """
    folder = Path(folder)
    facts = read_facts(folder)
    types = Types(DISTRO)
    messages = [*_tick_messages(folder, facts, types), *_chunk_messages(folder, facts, types)]
    offset = _unix_offset(facts)
    for message in _event_messages(folder, types):
        if _fits(message.time + offset):
            messages.append(message)
    messages.sort(key=lambda message: message.time)
    from rosbags.rosbag2 import StoragePlugin, Writer

    with new_folder(Path(out)) as beside:
        bag = beside / Path(out).name  # a Writer makes its own folder, and names its file after it
        with Writer(bag, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP) as writer:
            connections: dict[str, Any] = {}
            for topic, kind, time, content in messages:
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=types.store)
                moment = round(1e9 * (time + offset))
                writer.write(connections[topic], moment, types.encode(content))
        for file in bag.iterdir():
            file.rename(beside / file.name)
        bag.rmdir()
    return len(messages)


def _unix_offset(facts: dict[str, Any]) -> float:
    """Return what makes a time of the robot's clock one of Unix [s]."""
    began = facts.get("began")
    return began["unix"] - began["robot"] if began else 0.0


def _fits(unix: float) -> bool:
    """Return whether a bag can say a time: a robot's clock may have been anything."""
    return 0 <= unix < MOST_SECONDS


def _tick_messages(folder: Path, facts: dict[str, Any], types: Types) -> Iterator[Message]:
    names = Spec.from_json(facts["spec"]).element_names()
    offset = _unix_offset(facts)
    state = -1
    for tick in read_all_ticks(folder):
        time = float(tick["time"])
        if not _fits(time + offset):
            continue
        for name in ACTIONS:
            values = np.asarray(tick[name], float)
            if np.isfinite(values).all():
                content = _joint_state(types, time + offset, names, values)
                yield Message(f"/{name}", JOINT_STATE, time, content)
        late = types.make(FLOAT64, data=float(tick["lateness"]))
        yield Message("/lateness", FLOAT64, time, late)
        if tick["state"] != state:
            state = int(tick["state"])
            yield Message("/state", STRING, time, types.make(STRING, data=str(STATES[state])))


def _chunk_messages(folder: Path, facts: dict[str, Any], types: Types) -> Iterator[Message]:
    names = Spec.from_json(facts["spec"]).element_names()
    offset = _unix_offset(facts)
    nothing = np.zeros(0)
    for chunk in read_chunks(folder):
        if not (_fits(chunk["time"] + offset) and _fits(chunk["taken"] + offset)):
            continue
        points = []
        for number, action in enumerate(chunk["actions"]):
            point = types.make(
                JOINT_TRAJECTORY_POINT,
                positions=np.asarray(action, float),
                velocities=nothing,
                accelerations=nothing,
                effort=nothing,
                time_from_start=types.split(DURATION, number * float(chunk["dt"])),
            )
            points.append(point)
        header = types.header(float(chunk["time"]) + offset)
        content = types.make(JOINT_TRAJECTORY, header=header, joint_names=names, points=points)
        yield Message("/chunk", JOINT_TRAJECTORY, float(chunk["taken"]), content)


def _event_messages(folder: Path, types: Types) -> Iterator[Message]:
    """Yield what was said by the control process, which knows the robot's time.

    A line that is none, as the last one may be, is left out.
    """
    with refusing(RobotError, f"{folder / EVENTS} cannot be read", folder):
        lines = (folder / EVENTS).read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        with suppress(ValueError, TypeError, KeyError):
            time = float(json.loads(line)["time"])
            yield Message("/events", STRING, time, types.make(STRING, data=line))


def _joint_state(types: Types, time: float, names: list[str], values: np.ndarray) -> Any:
    nothing = np.zeros(0)
    header = types.header(time)
    return types.make(
        JOINT_STATE, header=header, name=names, position=values, velocity=nothing, effort=nothing
    )
