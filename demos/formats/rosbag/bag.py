"""A bag of any kind of ROS, and one kind of error where it is damaged."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from ....envs import DataError, FewstepError, caps
from ....envs.errors import names, refusing
from ....envs.files import read_plain
from ....envs.tables import require_small
from .values import header_time


class Bag:
    """An open bag. topics: the type of the messages of each."""

    def __init__(self, path: Path, reader: AnyReader) -> None:
        self.path = path
        self.topics = {}
        self._reader = reader
        for connection in reader.connections:
            self.topics[connection.topic] = connection.msgtype

    def require(self, topic: str, key: str) -> None:
        """Raise DataError where the topic of a field is not there."""
        if topic not in self.topics:
            raise DataError(
                f"{self.path} has no topic {topic} for {key!r}; valid: {names(self.topics)}"
            )

    def count(self, topic: str) -> int:
        """Return how many messages a topic has."""
        count = 0
        for connection in self._reader.connections:
            if connection.topic == topic:
                count += connection.msgcount
        return count

    def messages(self, topics: Iterable[str]) -> Iterator[tuple[str, int, Any]]:
        """Yield topic, time [ns] and content of all messages of some topics, as they were received.

        The time is that in the header of the message where it is set, else that of its reception.
        """
        wanted = set(topics)
        connections = [known for known in self._reader.connections if known.topic in wanted]
        if not connections:
            return
        with damage(self.path):
            for connection, received, raw in self._reader.messages(connections):
                message = self._reader.deserialize(raw, connection.msgtype)
                time = np.int64(header_time(message) or received)  # or an OverflowError
                yield connection.topic, int(time), message

    def where(self, topic: str) -> str:
        """Return the place of something wrong, for an error."""
        return f"{self.path}, topic {topic} ({self.topics.get(topic)})"


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a bag; bags of ROS 2 that do not define their messages have those of Humble."""
    with damage(path):
        about = path / "metadata.yaml"
        if about.exists():
            require_small(read_plain(about, caps.BAG_YAML, inside=path).decode(), caps.BAG_VALUES)
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    try:
        yield Bag(path, reader)
    finally:
        reader.close()


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn whatever the libraries raise into a DataError."""
    with refusing(DataError, f"cannot read {path} as a ROS bag"):
        yield


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Put the place in front of an error."""
    try:
        yield
    except FewstepError as error:
        raise DataError(f"{where}: {error}") from error
