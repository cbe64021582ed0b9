"""Bags of ROS with known content, for tests."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

STORES = {"bag": get_typestore(Stores.ROS1_NOETIC), "db3": get_typestore(Stores.ROS2_HUMBLE)}
STORES["mcap"] = STORES["db3"]
START = 1_700_000_000 * 10**9  # ns
LATE = 30_000_000  # ns from a stamp to the reception of its message


class Message(NamedTuple):
    """Received at `time` [s] after START; make: builds it, given the types of a kind of bag."""

    topic: str
    type: str
    time: float
    make: Callable[[dict[str, Any]], Any]


def at(time: float) -> int:
    return START + round(time * 1e9)


def header(types: dict[str, Any], time: float | None) -> Any:
    ns = 0 if time is None else at(time)
    stamp = types["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9)
    kind = types["std_msgs/msg/Header"]
    return kind(stamp=stamp, frame_id="", **({"seq": 0} if "seq" in kind.__annotations__ else {}))


def write(path: Path, messages: Sequence[Message], kind: str = "mcap") -> Path:
    """A bag of one of the kinds: file, or folder with metadata.yaml."""
    plugin = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
    store, connections = STORES[kind], {}
    with (
        Writer1(path)
        if kind == "bag"
        else Writer2(path, version=9, storage_plugin=plugin) as writer
    ):
        for topic, type_, time, make in sorted(messages, key=lambda m: m.time):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, type_, typestore=store)
            serialize = store.serialize_ros1 if kind == "bag" else store.serialize_cdr
            writer.write(connections[topic], at(time), serialize(make(store.types), type_))
    return path


def joints(
    time: float, values: Sequence[float], names: Sequence[str] = ("a", "b"), stamped: bool = True
) -> Message:
    def make(types: dict[str, Any]) -> Any:
        head, none = header(types, time if stamped else None), np.zeros(0)
        return types["sensor_msgs/msg/JointState"](
            head, list(names), np.array(values, float), none, none
        )

    return Message("/joint_states", "sensor_msgs/msg/JointState", time + LATE / 1e9, make)


def command(time: float, values: Sequence[float]) -> Message:
    def make(types: dict[str, Any]) -> Any:
        layout = types["std_msgs/msg/MultiArrayLayout"]([], 0)
        return types["std_msgs/msg/Float64MultiArray"](layout, np.array(values, float))

    return Message("/joint_commands", "std_msgs/msg/Float64MultiArray", time, make)


def pose(time: float, position: Sequence[float], xyzw: Sequence[float]) -> Message:
    def make(types: dict[str, Any]) -> Any:
        point = types["geometry_msgs/msg/Point"](*map(float, position))
        rotation = types["geometry_msgs/msg/Quaternion"](*map(float, xyzw))
        return types["geometry_msgs/msg/PoseStamped"](
            header(types, time), types["geometry_msgs/msg/Pose"](point, rotation)
        )

    return Message("/tool/pose", "geometry_msgs/msg/PoseStamped", time, make)


def raw(time: float, pixels: np.ndarray, encoding: str = "rgb8", padding: int = 0) -> Message:
    def make(types: dict[str, Any]) -> Any:
        rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, padding)))
        size = (*pixels.shape[:2], encoding, 0, rows.shape[1], rows.ravel())
        return types["sensor_msgs/msg/Image"](header(types, time), *size)

    return Message("/camera", "sensor_msgs/msg/Image", time, make)


def compressed(time: float, data: bytes, format_: str) -> Message:
    def make(types: dict[str, Any]) -> Any:
        return types["sensor_msgs/msg/CompressedImage"](
            header(types, time), format_, np.frombuffer(data, np.uint8)
        )

    return Message("/camera", "sensor_msgs/msg/CompressedImage", time, make)


def encoded(pixels: np.ndarray, codec: str, **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, codec, **options)
    return file.getvalue()
