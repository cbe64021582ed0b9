"""Writes cdr.json: messages of ROS 2 as another implementation, Eclipse Cyclone DDS, writes them.

`python tests/envs/ros2/make_cdr.py`, where cyclonedds 11.0.1 is installed.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import float64, int32, sequence, uint8, uint32


@dataclass
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    sec: int32
    nanosec: uint32


@dataclass
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    stamp: Time
    frame_id: str


@dataclass
class JointState(IdlStruct, typename="sensor_msgs::msg::dds_::JointState_"):
    header: Header
    name: sequence[str]
    position: sequence[float64]
    velocity: sequence[float64]
    effort: sequence[float64]


@dataclass
class Dimension(IdlStruct, typename="std_msgs::msg::dds_::MultiArrayDimension_"):
    label: str
    size: uint32
    stride: uint32


@dataclass
class Layout(IdlStruct, typename="std_msgs::msg::dds_::MultiArrayLayout_"):
    dim: sequence[Dimension]
    data_offset: uint32


@dataclass
class Float64MultiArray(IdlStruct, typename="std_msgs::msg::dds_::Float64MultiArray_"):
    layout: Layout
    data: sequence[float64]


@dataclass
class Point(IdlStruct, typename="trajectory_msgs::msg::dds_::JointTrajectoryPoint_"):
    positions: sequence[float64]
    velocities: sequence[float64]
    accelerations: sequence[float64]
    effort: sequence[float64]
    time_from_start: Time


@dataclass
class JointTrajectory(IdlStruct, typename="trajectory_msgs::msg::dds_::JointTrajectory_"):
    header: Header
    joint_names: sequence[str]
    points: sequence[Point]


@dataclass
class Image(IdlStruct, typename="sensor_msgs::msg::dds_::Image_"):
    header: Header
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


@dataclass
class CompressedImage(IdlStruct, typename="sensor_msgs::msg::dds_::CompressedImage_"):
    header: Header
    format: str
    data: sequence[uint8]


NAMES = ["lift", "pan"]
TARGET = [0.125, -0.25]
STAMPED = Header(Time(12, 345), "base")
MESSAGES = {
    "joint_state": JointState(STAMPED, NAMES, TARGET, [1.5, 2.5], []),
    "float64_array": Float64MultiArray(Layout([], 0), TARGET),
    "joint_state_command": JointState(Header(Time(0, 0), ""), NAMES, TARGET, [], []),
    "joint_trajectory": JointTrajectory(
        Header(Time(0, 0), ""), NAMES, [Point(TARGET, [], [], [], Time(0, 10_000_000))]
    ),
    "image": Image(STAMPED, 2, 2, "bgr8", 0, 7, [*range(1, 7), 0, *range(7, 13), 0]),
    "compressed_image": CompressedImage(STAMPED, "jpeg", [255, 216, 255]),
}

if __name__ == "__main__":
    written = {name: message.serialize().hex() for name, message in MESSAGES.items()}
    Path(__file__).with_name("cdr.json").write_text(json.dumps(written, indent=1) + "\n")
    sys.stdout.write(f"{len(written)} messages\n")
