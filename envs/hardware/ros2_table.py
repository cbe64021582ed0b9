"""The topics of a robot in ROS 2, from a YAML file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, RobotError, names
from ..ros2.types import FLOAT64_ARRAY, JOINT_STATE, JOINT_TRAJECTORY
from ..schema import from_plain
from ..spec import Field, Spec
from ..tables import read_table

VALUES = ("position", "velocity", "effort")  # of a JointState
SENT_AS = (FLOAT64_ARRAY, JOINT_STATE, JOINT_TRAJECTORY)
ENTRIES = ("observations", "actions", "policy_hz", "hz")


@dataclass(frozen=True)
class ObservedTopic:
    """An observation: joints of a JointState, picked and ordered by their names."""

    topic: str
    names: tuple[str, ...]
    value: str = "position"
    unit: str = "rad"
    kind: str = "linear"

    @property
    def field(self) -> Field:
        """Return what is observed."""
        return Field((len(self.names),), self.unit, self.kind, self.names)


@dataclass(frozen=True)
class CommandedTopic:
    """An action: where it is sent, as what, and within which limits."""

    topic: str
    names: tuple[str, ...]
    type: str = FLOAT64_ARRAY
    unit: str = "rad"
    kind: str = "linear"
    measured_by: str = ""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    velocity: tuple[float, ...] = ()
    acceleration: tuple[float, ...] = ()

    @property
    def field(self) -> Field:
        """Return what is commanded."""
        return Field(
            (len(self.names),),
            self.unit,
            self.kind,
            self.names,
            self.low,
            self.high,
            self.measured_by,
            self.velocity,
            self.acceleration,
        )


@dataclass(frozen=True)
class Ros2Table:
    """All topics of a robot. policy_hz: of what a policy sees and does; hz: of commands."""

    observations: Mapping[str, ObservedTopic]
    actions: Mapping[str, CommandedTopic]
    policy_hz: float
    hz: float

    @property
    def spec(self) -> Spec:
        """Return what the robot measures and accepts."""
        observations = {key: topic.field for key, topic in self.observations.items()}
        actions = {key: topic.field for key, topic in self.actions.items()}
        return Spec(observations, actions, self.policy_hz, self.hz)


def read_topics(path: str) -> Ros2Table:
    """Read the file; ConfigError names what is wrong in it."""
    table = read_table(path, "topics")
    unknown = table.keys() - set(ENTRIES)
    lacking = set(ENTRIES) - table.keys()
    if unknown or lacking:
        raise ConfigError(
            f"{path}: it has {names(table)}, and needs {names(ENTRIES)} and nothing else"
        )
    observations = _read_all(ObservedTopic, table["observations"], f"{path}: observations")
    actions = _read_all(CommandedTopic, table["actions"], f"{path}: actions")
    for key, topic in observations.items():
        _require(topic.value, VALUES, f"{path}: observations.{key}.value")
    for key, topic in actions.items():
        _require(topic.type, SENT_AS, f"{path}: actions.{key}.type")
    rates = []
    for key in ("policy_hz", "hz"):
        if isinstance(table[key], bool) or not isinstance(table[key], int | float):
            raise ConfigError(f"{path}: {key} must be a number, not {table[key]!r}")
        if not 0 < table[key] < math.inf:
            raise ConfigError(f"{path}: {key} must be above 0, not {table[key]}")
        rates.append(float(table[key]))
    _require_measured(path, observations, actions)
    made = Ros2Table(observations, actions, *rates)
    try:
        _ = made.spec
    except Exception as error:
        raise RobotError(f"{path}: {error}") from error
    return made


def _read_all(kind: type, table: Any, where: str) -> dict[str, Any]:
    if not isinstance(table, Mapping) or not table:
        raise ConfigError(f"{where} must be a table of topics, not {table!r}")
    found = {}
    for key, described in table.items():
        topic = from_plain(kind, described, f"{where}.{key}")
        if not topic.topic.startswith("/") or not topic.names:
            raise ConfigError(f"{where}.{key} needs a topic that begins with / and names of joints")
        if len(set(topic.names)) < len(topic.names):
            raise ConfigError(f"{where}.{key}.names has a joint twice")
        found[key] = topic
    return found


def _require_measured(
    path: str, observations: Mapping[str, ObservedTopic], actions: Mapping[str, CommandedTopic]
) -> None:
    """Raise ConfigError where a target would not be a position, or not of the joints measured."""
    topics: dict[str, str] = {}
    for key, commanded in actions.items():
        where = f"{path}: actions.{key}"
        other = topics.setdefault(commanded.topic, key)
        if other != key:
            raise ConfigError(f"{where} is sent on the topic of {other}: one message, one action")
        measured = observations.get(commanded.measured_by)
        if measured is None:
            raise ConfigError(
                f"{where}.measured_by must be one of {names(observations)}, "
                f"not {commanded.measured_by!r}"
            )
        if measured.value != "position":
            raise ConfigError(
                f"{where} is measured by a {measured.value}: only positions are sent, since to "
                "hold is to send the last target again"
            )
        for part in ("names", "unit", "kind"):
            ours, theirs = getattr(commanded, part), getattr(measured, part)
            if ours != theirs:
                raise ConfigError(
                    f"{where}.{part} is {ours}, and {commanded.measured_by}.{part} is {theirs}: "
                    "they must be the same, in the order of the controller"
                )


def _require(value: str, valid: tuple[str, ...], where: str) -> None:
    if value not in valid:
        raise ConfigError(f"{where} must be one of {names(valid)}, not {value!r}")
