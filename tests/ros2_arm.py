"""An arm of two joints in a graph of ROS 2, and the router beside it, made of nothing of fewstep's.

`python ros2_arm.py PORT TROUBLE LOG`. Its messages are those that Cyclone DDS has written
(tests/envs/ros2/cdr.json), with other numbers in their places. Its clock is 100 s ahead. TROUBLE is a
file that says what is wrong: "", "stops", "nan", "renamed", "cut" or "clock back"; LOG gets a
line of JSON for each command.
"""

import json
import os
import struct
import sys
import time
from pathlib import Path

import zenoh

HZ = 200.0
AHEAD, BACK = 100.0, 30.0  # s
LAG = 0.03  # s
STAMP, POSITION, TARGET = 4, 52, 20  # bytes before them
JOINT_STATE = "sensor_msgs::msg::dds_::JointState_"
JOINT_STATE_HASH = "RIHS01_a13ee3a330e346c9d87b5aa18d24e11690752bd33a0350f11c5882bc9179260e"
COMMANDS = "0/forward_position_controller/commands/std_msgs::msg::dds_::Float64MultiArray_/*"
CDR = json.loads((Path(__file__).parent / "envs" / "ros2" / "cdr.json").read_text())


class Arm:
    """Joints that close in on their targets."""

    def __init__(self, log: Path) -> None:
        self.at = [0.0, 0.0]
        self.target = [0.0, 0.0]
        self._log = log.open("a", buffering=1)

    def command(self, sample: zenoh.Sample) -> None:
        content = bytes(sample.payload)
        expected = bytes.fromhex(CDR["float64_array"])
        assert content[4:TARGET] == expected[4:TARGET], content.hex()
        assert sample.attachment is not None and len(bytes(sample.attachment)) == 33
        pan, lift = struct.unpack_from("<2d", content, TARGET)  # its controller's order
        self.target = [lift, pan]
        self._log.write(json.dumps({"time": time.monotonic(), "target": self.target}) + "\n")

    def move(self) -> None:
        share = 1 / HZ / LAG
        self.at = [x + share * (to - x) for x, to in zip(self.at, self.target, strict=True)]


def state(arm: Arm, trouble: str) -> bytes:
    """The message that says where the arm is."""
    content = bytearray.fromhex(CDR["joint_state"])
    now = time.time() + AHEAD - (BACK if trouble == "clock back" else 0)
    struct.pack_into("<iI", content, STAMP, int(now), int(1e9 * (now % 1)))
    at = [float("nan")] * 2 if trouble == "nan" else arm.at
    struct.pack_into("<2d", content, POSITION, *at)
    if trouble == "renamed":
        content = content.replace(b"lift", b"loft")
    return bytes(content[:40] if trouble == "cut" else content)


def main(port: str, trouble: Path, log: Path) -> None:
    config = zenoh.Config()
    config.insert_json5("mode", '"router"')
    config.insert_json5("listen/endpoints", json.dumps([f"tcp/127.0.0.1:{port}"]))
    config.insert_json5("scouting/multicast/enabled", "false")
    session = zenoh.open(config)
    arm = Arm(log)
    published = f"0/joint_states/{JOINT_STATE}/{JOINT_STATE_HASH}"
    publisher = session.declare_publisher(published)
    token = (
        f"@ros2_lv/0/{session.info.zid()}/0/1/MP/%/%/arm/%joint_states/{JOINT_STATE}/"
        f"{JOINT_STATE_HASH}/::,10:,:,:,,"
    )
    kept = [session.declare_subscriber(COMMANDS, arm.command)]
    kept.append(session.liveliness().declare_token(token))
    print("ready", flush=True)
    sequence = 0
    while True:
        time.sleep(1 / HZ)
        arm.move()
        wrong = trouble.read_text() if trouble.exists() else ""
        if wrong == "stops":
            continue
        sequence += 1
        attachment = struct.pack("<qqB", sequence, time.time_ns(), 16) + os.urandom(16)
        publisher.put(state(arm, wrong), attachment=attachment)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
