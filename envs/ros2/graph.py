"""A node among those of rmw_zenoh: what it publishes, hears, and shows of itself.

Keys, tokens and attachments are those of rmw_zenoh_cpp (its design document, and 0.14.0).
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable
from typing import Any

from ..errors import RobotError, names
from .types import Types, dds_name

ROUTER = "tcp/localhost:7447"  # where `ros2 run rmw_zenoh_cpp rmw_zenohd` listens
TOKENS = "@ros2_lv"
NODE, PUBLISHER, SUBSCRIPTION = "NN", "MP", "MS"
QOS = "::,10:,:,:,,"  # reliable, volatile, the last ten: ROS 2's default
ATTACHMENT = struct.Struct("<qqB")  # sequence, time [ns], and how many bytes name the publisher
NAME_BYTES = 16
ASKING_SECONDS = 2.0  # for the tokens of others


class Publisher:
    """Sends messages on one topic."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        self._sequence = 0
        self._name = os.urandom(NAME_BYTES)

    def send(self, content: bytes) -> None:
        """Send a message, CDR."""
        self._sequence += 1
        stated = ATTACHMENT.pack(self._sequence, time.time_ns(), NAME_BYTES)
        self._publisher.put(content, attachment=stated + self._name)


class Graph:
    """One node.

    connect: the endpoint of the router, as Zenoh writes it; domain: ROS_DOMAIN_ID.
    RobotError where no router answers.
    """

    def __init__(self, node: str, types: Types, connect: str = ROUTER, domain: int = 0) -> None:
        try:
            import zenoh
        except ModuleNotFoundError as error:
            raise RobotError("ROS 2 needs eclipse-zenoh: pip install 'fewstep[ros2]'") from error
        zenoh.init_log_from_env_or("error")
        config = zenoh.Config()
        config.insert_json5("mode", '"client"')
        config.insert_json5("connect/endpoints", json.dumps([connect]))
        config.insert_json5("scouting/multicast/enabled", "false")
        try:
            self._session: Any = zenoh.open(config)
        except Exception as error:
            raise RobotError(
                f"no router of Zenoh answers at {connect}: start `ros2 run rmw_zenoh_cpp "
                f"rmw_zenohd` there ({' '.join(str(error).split())[:200]})"
            ) from error
        self._types = types
        self._node = node
        self._domain = domain
        self._entities = 0
        self._kept: list[Any] = []  # Zenoh ends what nobody refers to
        self._announce(NODE)

    def publish(self, topic: str, kind: str) -> Publisher:
        """Return who sends messages of a type on a topic."""
        publisher = self._session.declare_publisher(self._key(topic, kind, self._types.hash(kind)))
        self._kept.append(publisher)
        self._announce(PUBLISHER, topic, kind)
        return Publisher(publisher)

    def subscribe(self, topic: str, kind: str, hear: Callable[[bytes], None]) -> None:
        """Give each message of a type on a topic to `hear`, on a thread of Zenoh's.

        The publisher's hash of the type may be any: distributions differ in it.
        """

        def take(sample: Any) -> None:
            hear(bytes(sample.payload))

        key = self._key(topic, kind, "*")
        self._kept.append(self._session.declare_subscriber(key, take))
        self._announce(SUBSCRIPTION, topic, kind)

    def published(self) -> dict[str, str]:
        """Return the topics that others publish now, and the names of their types."""
        found = {}
        asked = f"{TOKENS}/{self._domain}/**"
        for reply in self._session.liveliness().get(asked, timeout=ASKING_SECONDS):
            if reply.ok is None:
                continue
            parts = str(reply.ok.key_expr).split("/")
            if len(parts) > 10 and parts[5] == PUBLISHER:
                found[parts[9].replace("%", "/")] = parts[10]
        return found

    def close(self) -> None:
        """Leave; may be called again."""
        self._kept.clear()
        self._session.close()

    def _key(self, topic: str, kind: str, type_hash: str) -> str:
        return f"{self._domain}/{topic.strip('/')}/{dds_name(kind)}/{type_hash}"

    def _announce(self, entity: str, topic: str = "", kind: str = "") -> None:
        """Declare the token by which other nodes see this one, and what it has."""
        place = f"{TOKENS}/{self._domain}/{self._session.info.zid()}/0/{self._entities}"
        token = f"{place}/{entity}/%/%/{self._node}"
        if topic:
            name = "%" + topic.strip("/").replace("/", "%")
            token += f"/{name}/{dds_name(kind)}/{self._types.hash(kind)}/{QOS}"
        self._entities += 1
        self._kept.append(self._session.liveliness().declare_token(token))


def not_published(topic: str, kind: str, graph: Graph) -> str:
    """Return why a topic does not come, and what does, in words."""
    published = graph.published()
    if topic in published and published[topic] != dds_name(kind):
        return f"topic {topic} is of type {published[topic]}, not {dds_name(kind)}"
    return f"topic {topic} does not come; published are {names(published)}"
