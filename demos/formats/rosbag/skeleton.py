"""A file of fields to begin with, made of what a bag holds."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ....envs.errors import names
from .bag import Bag
from .values import CAMERAS, find_numbers, joint_names

# in the name of a topic of actions
COMMANDS = ("action", "cmd", "command", "desired", "goal", "setpoint", "target")


@dataclass(frozen=True)
class TopicSummary:
    """A topic of a bag.

    Type and number of its messages, paths to numbers in the first, and names.
    """

    type: str
    count: int
    camera: bool = False
    paths: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def write_skeleton(bag: Bag) -> str:
    """Return the topics of a bag, and a file of fields to begin with."""
    topics = {topic: _summarise(bag, topic) for topic in sorted(bag.topics)}
    lines = ["its topics:"]
    for topic, summary in topics.items():
        lines.append(f"  {topic}  {summary.type}  {summary.count} messages")
    measured = {}
    commanded = {}
    for topic, summary in topics.items():
        if not summary.camera and not summary.paths:
            continue
        if any(word in topic.lower() for word in COMMANDS):
            commanded[topic] = summary
        else:
            measured[topic] = summary
    lines += ["a file to begin with; add unit, kind, measured_by and limits:", "", "hz: 20"]
    lines += _table_lines("observations", measured)
    lines += _table_lines("actions", commanded)
    return "\n".join(lines)


def _summarise(bag: Bag, topic: str) -> TopicSummary:
    message_type = bag.topics[topic]
    camera = message_type in CAMERAS
    paths: tuple[str, ...] = ()
    joints: tuple[str, ...] = ()
    first = next(bag.messages([topic]), None)
    message = None if first is None else first[2]
    if not camera:
        paths = tuple(find_numbers(message))
    if paths:
        joints = joint_names(message)
    return TopicSummary(message_type, bag.count(topic), camera, paths, joints)


def _table_lines(group: str, topics: Mapping[str, TopicSummary]) -> list[str]:
    if not topics:
        return [f"{group}: {{}}  # none recognised"]
    lines = [f"{group}:"]
    for topic, summary in topics.items():
        lines.append(f"  {_field_key(topic)}: {_field_line(topic, summary)}")
    return lines


def _field_key(topic: str) -> str:
    return re.sub(r"\W+", "_", topic).strip("_") or "field"


def _field_line(topic: str, summary: TopicSummary) -> str:
    plain = re.fullmatch(r"/[/A-Za-z0-9_]*", topic)
    parts = [f"topic: {topic if plain else json.dumps(topic)}"]
    if summary.camera:
        parts.append("size: [96, 96]")
    if summary.paths and summary.paths[0]:
        parts.append(f"value: {summary.paths[0]}")
    if summary.names:
        parts.append(f"names: {json.dumps(summary.names)}")
    others = f"  # or {names(summary.paths[1:])}" if summary.paths[1:] else ""
    return f"{{{', '.join(parts)}}}{others}"
