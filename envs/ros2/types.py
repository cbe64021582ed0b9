"""Messages of ROS 2 as bytes: CDR, as every middleware carries it, by rosbags."""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError, RobotError, names, refusing

JOINT_STATE = "sensor_msgs/msg/JointState"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
JOINT_TRAJECTORY_POINT = "trajectory_msgs/msg/JointTrajectoryPoint"
FLOAT64_ARRAY = "std_msgs/msg/Float64MultiArray"
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
STRING = "std_msgs/msg/String"
FLOAT64 = "std_msgs/msg/Float64"
HEADER = "std_msgs/msg/Header"
TIME = "builtin_interfaces/msg/Time"
DURATION = "builtin_interfaces/msg/Duration"
DISTROS = ("humble", "jazzy", "kilted", "lyrical")
WITHOUT_HASHES = ("humble",)  # whose types have no hash
NO_HASH = "TypeHashNotSupported"


class Types:
    """The message types of one distribution of ROS 2."""

    def __init__(self, distro: str) -> None:
        if distro not in DISTROS:
            raise ConfigError(f"distro must be one of {names(DISTROS)}, not {distro!r}")
        try:
            from rosbags.typesys import Stores, get_typestore
        except ModuleNotFoundError as error:
            raise RobotError("ROS 2 needs rosbags: pip install 'fewstep[ros2]'") from error
        self._distro = distro
        self.store: Any = get_typestore(Stores(f"ros2_{distro}"))  # of rosbags

    def make(self, kind: str, **values: Any) -> Any:
        """Return a message of a type."""
        return self.store.types[kind](**values)

    def header(self, time: float) -> Any:
        """Return a header that is stamped `time` [s]."""
        return self.make(HEADER, stamp=self.split(TIME, time), frame_id="")

    def split(self, kind: str, seconds: float) -> Any:
        """Return a TIME or a DURATION in whole seconds and nanoseconds."""
        whole, part = divmod(seconds, 1.0)
        return self.make(kind, sec=int(whole), nanosec=int(1e9 * part))

    def encode(self, message: Any) -> bytes:
        """Return a message as CDR."""
        return bytes(self.store.serialize_cdr(message, message.__msgtype__))

    def decode(self, content: bytes, kind: str) -> Any:
        """Return the message in CDR; RobotError where it is none of this type."""
        with refusing(RobotError, f"no {kind}"):
            return self.store.deserialize_cdr(content, kind)

    def hash(self, kind: str) -> str:
        """Return what tells two definitions of a type apart, as it stands in keys."""
        if self._distro in WITHOUT_HASHES:
            return NO_HASH
        return str(self.store.hash_rihs01(kind))


def dds_name(kind: str) -> str:
    """Return a type's name as it stands in keys: std_msgs::msg::dds_::Float64_."""
    package, _, name = kind.partition("/msg/")
    return f"{package}::msg::dds_::{name}_"


def seconds(stamp: Any) -> float:
    """Return a header's stamp in seconds; 0 where it is not set."""
    return stamp.sec + 1e-9 * stamp.nanosec
