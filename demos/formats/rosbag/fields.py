"""The YAML file that says which topics of a bag become which fields, and one to begin with."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....envs import ConfigError, DataError
from ....envs.errors import names
from ....envs.schema import from_plain
from ....envs.tables import read_table

COMMANDS = (
    "action",
    "cmd",
    "command",
    "desired",
    "goal",
    "setpoint",
    "target",
)  # in the name of a topic of actions


@dataclass(frozen=True)
class Entry:
    """One field: a topic, where its numbers are, and what they mean.

    value: dotted path to the numbers in a message; empty for a camera, or a message that is nothing but numbers.
    size: (height, width) to which images are resized; empty keeps them. The rest is as in Field.
    names: also picks and orders the numbers of a message that names them, as JointState does.
    kind: empty for image, quaternion or linear, whatever the message holds.
    """

    topic: str
    value: str = ""
    size: tuple[int, ...] = ()
    unit: str = ""
    kind: str = ""
    names: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    measured_by: str = ""
    velocity: tuple[float, ...] = ()
    acceleration: tuple[float, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The whole file. hz: rate to which everything is resampled [Hz], 0 where it does not say."""

    hz: float = 0.0
    observations: dict[str, Any] = field(default_factory=dict)  # of Entry
    actions: dict[str, Any] = field(default_factory=dict)


def load(path: Path) -> Plan:
    """Read such a file; DataError says what is wrong with it."""
    given = read_table(path, "fields", DataError)
    try:
        plan = from_plain(Plan, given)
        tables = {"observations": plan.observations, "actions": plan.actions}
        entries = {
            g: {str(k): _entry(v, f"{g}.{k}") for k, v in table.items()}
            for g, table in tables.items()
        }
        return Plan(plan.hz, **entries)
    except ConfigError as error:
        raise DataError(f"{path} is no YAML file of fields: {error}") from error


def _entry(table: Any, where: str) -> Entry:
    entry = from_plain(Entry, table, where)
    if entry.size and (len(entry.size) != 2 or min(entry.size) < 1):
        raise ConfigError(f"{where}.size must be [height, width] in pixels, not {list(entry.size)}")
    return entry


@dataclass(frozen=True)
class Found:
    """A topic of a bag: type and number of its messages, and in the first one paths to numbers, and their names."""

    type: str
    count: int
    camera: bool = False
    values: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def skeleton(topics: Mapping[str, Found]) -> str:
    """The topics of a bag, and a file of fields to begin with."""
    listed = [
        f"  {topic}  {found.type}  {found.count} messages"
        for topic, found in sorted(topics.items())
    ]
    usable = {topic: found for topic, found in topics.items() if found.camera or found.values}
    sent = {topic for topic in usable if any(word in topic.lower() for word in COMMANDS)}
    return "\n".join(
        [
            *("its topics:", *listed),
            *("a file to begin with; add unit, kind, measured_by and limits:", "", "hz: 20"),
            *_table("observations", ((t, usable[t]) for t in sorted(usable.keys() - sent))),
            *_table("actions", ((t, usable[t]) for t in sorted(sent))),
        ]
    )


def _table(group: str, topics: Iterable[tuple[str, Found]]) -> list[str]:
    lines = [f"  {_key(topic)}: {_line(topic, found)}" for topic, found in topics]
    return [f"{group}:", *lines] if lines else [f"{group}: {{}}  # none recognised"]


def _key(topic: str) -> str:
    return re.sub(r"\W+", "_", topic).strip("_") or "field"


def _line(topic: str, found: Found) -> str:
    parts = [f"topic: {topic if re.fullmatch(r'/[/A-Za-z0-9_]*', topic) else json.dumps(topic)}"]
    parts += ["size: [96, 96]"] if found.camera else []
    parts += [f"value: {found.values[0]}"] if found.values and found.values[0] else []
    parts += [f"names: {json.dumps(found.names)}"] if found.names else []
    others = f"  # or {names(found.values[1:])}" if found.values[1:] else ""
    return f"{{{', '.join(parts)}}}{others}"
