"""A node among those of rmw_zenoh: what it publishes, hears, and shows of itself.

Keys, tokens and attachments are those of rmw_zenoh_cpp (its design document, and 0.14.0).
"""

from __future__ import annotations

import atexit
import json
import os
import re
import struct
import time
from collections.abc import Callable
from typing import Any

from ..errors import ConfigError, RobotError, names
from .types import Types, dds_name

ROUTER = "tcp/localhost:7447"  # where `ros2 run rmw_zenoh_cpp rmw_zenohd` listens
TOKENS = "@ros2_lv"
NODE, PUBLISHER, SUBSCRIPTION = "NN", "MP", "MS"
QOS = "::,10:,:,:,,"  # reliable, volatile, the last ten: ROS 2's default
ATTACHMENT = struct.Struct("<qqB")  # sequence, time [ns], and how many bytes name the publisher
NAME_BYTES = 16
NODE_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
TOPIC_NAME = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*/?", re.ASCII)
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
        _require_name(NODE_NAME, node, "node")
        if isinstance(domain, bool) or not isinstance(domain, int) or domain < 0:
            raise ConfigError(f"domain must be a whole number, 0 or more, not {domain!r}")
        zenoh.init_log_from_env_or("off")  # what matters is raised, or does not come
        try:
            config = zenoh.Config()
            config.insert_json5("mode", '"client"')
            config.insert_json5("connect/endpoints", json.dumps([connect]))
            config.insert_json5("scouting/multicast/enabled", "false")
            config.insert_json5("transport/shared_memory/enabled", "false")
            self._session: Any = zenoh.open(config)
        except Exception as error:
            raise RobotError(
                f"no router of Zenoh answers at {connect!r}, which is like tcp/host:7447: start "
                f"`ros2 run rmw_zenoh_cpp rmw_zenohd` there"
            ) from error
        self._types = types
        self._node = node
        self._domain = domain
        self._entities = 0
        self._kept: list[Any] = []  # Zenoh ends what nobody refers to
        atexit.register(self.close)
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

        import zenoh

        key = self._key(topic, kind, "*")
        # Else a thread of Python's takes it, which would have to end before Python can.
        heard = zenoh.handlers.Callback(take, indirect=False)
        self._kept.append(self._session.declare_subscriber(key, heard))
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
        atexit.unregister(self.close)
        self._kept.clear()
        self._session.close()

    def _key(self, topic: str, kind: str, type_hash: str) -> str:
        _require_name(TOPIC_NAME, topic, "topic")
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


def _require_name(valid: re.Pattern[str], name: object, what: str) -> None:
    """Raise ConfigError for a name that ROS 2 would not take."""
    if not isinstance(name, str) or not valid.fullmatch(name):
        raise ConfigError(f"{name!r} is no name of a {what} in ROS 2")


def not_published(topic: str, kind: str, graph: Graph) -> str:
    """Return why a topic does not come, and what does, in words."""
    published = graph.published()
    topic = "/" + topic.strip("/")
    if topic in published and published[topic] != dds_name(kind):
        return f"topic {topic} is of type {published[topic]}, not {dds_name(kind)}"
    return f"topic {topic} does not come; published are {names(published)}"
