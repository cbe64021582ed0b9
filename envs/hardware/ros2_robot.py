"""A robot behind ROS 2: its joints come on a topic, and its targets go out on others."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ..clock import WallClock
from ..errors import RobotError, names
from ..robot import Command, Obs, Outcome, measured_action
from ..ros2.clock_offset import ClockOffset
from ..ros2.graph import ROUTER, Graph, Publisher, not_published
from ..ros2.types import (
    DURATION,
    FLOAT64_ARRAY,
    JOINT_STATE,
    JOINT_TRAJECTORY_POINT,
    Types,
    seconds,
)
from .ros2_table import VALUES, CommandedTopic, ObservedTopic, read_topics

START_SECONDS = 10.0  # for each topic to come
SILENT_SECONDS = 1.0  # without a message, after which no target is sent: time to brake until then
WAITING = 32  # messages of a topic that may wait to be looked at


class Joints:
    """The newest values of the joints of a topic, decoded when they are asked for.

    Messages of other joints, which other nodes may send on the same topic, are passed over.
    arrival: messages are stamped when they come, whatever their headers say.
    """

    def __init__(self, topic: str, wanted: Collection[str], types: Types, arrival: bool) -> None:
        self.topic = topic
        self._wanted = wanted
        self._types = types
        self._arrival = arrival
        self._offset = ClockOffset()
        self._came = deque[tuple[float, bytes]](maxlen=WAITING)  # when, and what
        self.came = -math.inf  # when the newest came [s, clock here]
        self.stamp = math.nan  # of the newest [s, clock here]
        self.values: dict[str, dict[str, float]] = {}  # by what is measured, and joint
        self.others: set[str] = set()  # joints of messages that were passed over

    def hear(self, content: bytes) -> None:
        """Keep a message; on a thread of Zenoh's."""
        self._came.append((time.monotonic(), content))

    def look(self) -> bool:
        """Decode what has come; return whether any of the joints ever has."""
        while self._came:
            came, content = self._came.popleft()
            try:
                message = self._types.decode(content, JOINT_STATE)
            except RobotError as error:
                raise RobotError(f"topic {self.topic}: {error}") from error
            if any(name in self._wanted for name in message.name):
                self._take(came, message)
            else:
                self.others.update(message.name)
        return bool(self.values)

    def _take(self, came: float, message: Any) -> None:
        self.came = came
        stamp = 0.0 if self._arrival else seconds(message.header.stamp)
        self.stamp = self._offset.here(stamp, came)
        for value in VALUES:
            measured = getattr(message, value).tolist()
            self.values[value] = dict(zip(message.name, measured, strict=False))


class Ros2Robot:
    """A Robot on the wire of rmw_zenoh, by a YAML file of topics; no ROS has to be installed.

    Its stamps are those of the messages' headers, brought to the clock here. Nothing is sent to an
    arm of which nothing has come lately: what drives it may have been started anew.

    Args:
        topics: The YAML file: docs/ros2.md.
        connect: The router of Zenoh.
        domain: ROS_DOMAIN_ID.
        distro: Of ROS 2, which decides the hashes of types.
        node: Its name in the graph.
        arrival: Messages are stamped when they come: for a simulation whose time is not ours.

    Raises:
        RobotError: No router answers, or a topic does not come.
    """

    def __init__(
        self,
        topics: str,
        *,
        connect: str = ROUTER,
        domain: int = 0,
        distro: str = "jazzy",
        node: str = "fewstep",
        arrival: bool = False,
    ) -> None:
        self._table = read_topics(topics)
        self.spec = self._table.spec
        self.clock = WallClock()
        self._types = Types(distro)
        self._target: np.ndarray | None = None
        self._graph = Graph(node, self._types, connect, domain)
        try:
            self._heard = self._subscribe(arrival)
            self._wait_for_topics()
            self._publishers = self._publish()
            self.observe()  # says at once which joint lacks
        except BaseException:
            self.close()
            raise

    def _subscribe(self, arrival: bool) -> dict[str, Joints]:
        wanted: dict[str, set[str]] = {}
        for observed in self._table.observations.values():
            wanted.setdefault(observed.topic, set()).update(observed.names)
        heard = {}
        for topic, names_there in wanted.items():
            heard[topic] = Joints(topic, names_there, self._types, arrival)
            self._graph.subscribe(topic, JOINT_STATE, heard[topic].hear)
        return heard

    def _wait_for_topics(self) -> None:
        end = time.monotonic() + START_SECONDS
        for joints in self._heard.values():
            while not joints.look():
                if time.monotonic() > end and joints.others:
                    raise RobotError(f"topic {joints.topic} has only {names(joints.others)}")
                if time.monotonic() > end:
                    raise RobotError(not_published(joints.topic, JOINT_STATE, self._graph))
                time.sleep(0.02)

    def _publish(self) -> dict[str, Publisher]:
        publishers = {}
        for key, commanded in self._table.actions.items():
            publishers[key] = self._graph.publish(commanded.topic, commanded.type)
        return publishers

    def reset(self, seed: int | None = None) -> None:
        """Do nothing: a person, or a policy, brings the robot where it should begin."""

    def observe(self) -> Obs:
        """Return the newest message of each topic."""
        for joints in self._heard.values():
            joints.look()
        now = self.clock.now()
        data = {}
        stamps = {}
        for key, observed in self._table.observations.items():
            joints = self._heard[observed.topic]
            data[key] = _pick(observed, joints.values[observed.value])
            stamps[key] = min(now, joints.stamp)
        return Obs(now, data, stamps)

    def command(self, command: Command) -> np.ndarray:
        """Send a target, and return it; None leaves the last one."""
        low, high = self.spec.bounds()
        if command.action is None:
            return self._held(low, high)
        action = np.asarray(command.action, float)
        if action.shape != low.shape or not np.isfinite(action).all():
            raise RobotError(f"this robot takes {low.size} numbers, not {action}")
        target = np.clip(action, low, high)
        self._require_heard()
        for (key, commanded), part in zip(
            self._table.actions.items(), self.spec.slices().values(), strict=True
        ):
            message = make_command(self._types, commanded, target[part], 1 / self.spec.command_hz)
            self._publishers[key].send(self._types.encode(message))
        self._target = target
        return target.copy()

    def _require_heard(self) -> None:
        """Raise RobotError where nothing has come lately of a topic that measures the arm."""
        for joints in self._heard.values():
            silent = time.monotonic() - joints.came
            if silent > SILENT_SECONDS:
                raise RobotError(
                    f"topic {joints.topic} has not come for {silent:.2f} s: no target is sent"
                )

    def _held(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        if self._target is not None:
            return self._target.copy()
        return np.clip(measured_action(self.spec, self.observe()), low, high)

    def outcome(self) -> Outcome | None:
        """Return None: nobody judges it."""
        return None

    def close(self) -> None:
        """Leave the graph: the robot's controllers hold their last target; may be called again."""
        with suppress(Exception):  # Zenoh's own errors, where it is closed already
            self._graph.close()


def _pick(observed: ObservedTopic, values: Mapping[str, float]) -> np.ndarray:
    """Return the joints that are observed; RobotError names one that lacks."""
    missing = [name for name in observed.names if name not in values]
    if missing:
        raise RobotError(
            f"topic {observed.topic} has no {observed.value} of {names(missing)}; "
            f"it has that of {names(values)}"
        )
    return np.array([values[name] for name in observed.names], np.float32)


def make_command(types: Types, commanded: CommandedTopic, target: np.ndarray, dt: float) -> Any:
    """Return the message that sends joints to a target, within `dt` [s] where it says a time."""
    if commanded.type == FLOAT64_ARRAY:
        layout = types.make("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
        return types.make(FLOAT64_ARRAY, layout=layout, data=target)
    if commanded.type == JOINT_STATE:
        return types.make(
            JOINT_STATE,
            header=types.header(time.time()),
            name=list(commanded.names),
            position=target,
            velocity=np.empty(0),
            effort=np.empty(0),
        )
    point = types.make(
        JOINT_TRAJECTORY_POINT,
        positions=target,
        velocities=np.empty(0),
        accelerations=np.empty(0),
        effort=np.empty(0),
        time_from_start=types.split(DURATION, dt),
    )
    return types.make(
        commanded.type,
        header=types.header(0.0),  # a trajectory stamped 0 begins when it comes
        joint_names=list(commanded.names),
        points=[point],
    )
