"""A robot and cameras behind ROS 2, against an arm in another process that is nothing of ours."""

import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import until
from PIL import Image

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import Command, ConfigError, RobotError
from fewstep.envs.cameras.camera import open_camera
from fewstep.envs.cameras.camera_config import CameraConfig, read_cameras
from fewstep.envs.hardware import ros2_robot
from fewstep.envs.hardware.registry import is_driver, make_live
from fewstep.envs.hardware.ros2_robot import make_command
from fewstep.envs.hardware.ros2_table import CommandedTopic, read_topics
from fewstep.envs.ros2.clock_offset import ClockOffset
from fewstep.envs.ros2.graph import Graph
from fewstep.envs.ros2.types import (
    COMPRESSED_IMAGE,
    FLOAT64_ARRAY,
    IMAGE,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    Types,
    seconds,
)
from fewstep.envs.safety.limits import Limits
from fewstep.envs.safety.safe_robot import SafeRobot
from fewstep.envs.safety.states import State
from fewstep.envs.testing import RobotContract
from fewstep.policy.cli.main import main

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
CDR = {
    key: bytes.fromhex(text) for key, text in json.loads((HERE / "cdr.json").read_text()).items()
}
TYPES = Types("jazzy")
TOPICS = """
policy_hz: 20
hz: 100
observations:
  joints: {topic: /joint_states, names: [pan, lift]}
actions:
  joints:
    topic: /forward_position_controller/commands
    names: [pan, lift]
    measured_by: joints
    low: [-2, -2]
    high: [2, 2]
    velocity: [1, 1]
    acceleration: [5, 5]
"""
TWICE = """actions:
  more: {topic: /forward_position_controller/commands, names: [pan, lift], measured_by: joints}
"""


class Ros:
    """An arm in its process, and a file of its topics."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.trouble = folder / "trouble"
        self.log = folder / "commands"
        self.topics = folder / "arm.yaml"
        self.topics.write_text(TOPICS)
        self.connect = f"tcp/127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start the arm's process; it stands at 0 then."""
        command = [sys.executable, str(TESTS / "ros2_arm.py"), str(self.port)]
        self.process = subprocess.Popen(
            [*command, str(self.trouble), str(self.log)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    @property
    def options(self) -> dict[str, Any]:
        return {"topics": str(self.topics), "connect": self.connect}

    def commands(self) -> np.ndarray:
        """What the arm was sent (T, 2): lift, pan."""
        if not self.log.exists():
            return np.empty((0, 2))
        lines = self.log.read_text().rpartition("\n")[0].splitlines()
        return np.array([json.loads(line)["target"] for line in lines]).reshape(-1, 2)


@pytest.fixture
def ros(tmp_path: Path) -> Iterator[Ros]:
    made = Ros(tmp_path)
    yield made
    made.process.kill()
    made.process.communicate()


class TestContract(RobotContract):
    simulated = False
    seconds = 1.0

    @pytest.fixture(autouse=True)
    def where(self, ros: Ros) -> None:
        self.ros = ros

    def make_robot(self) -> Any:
        return make_live("ros2", self.ros.options)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (FLOAT64_ARRAY, "float64_array"),
        (JOINT_STATE, "joint_state_command"),
        (JOINT_TRAJECTORY, "joint_trajectory"),
    ],
)
def test_commands_are_byte_for_byte_those_of_cyclone_dds(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ros2_robot.time, "time", lambda: 0.0)
    commanded = CommandedTopic("/commands", ("lift", "pan"), kind)
    message = make_command(TYPES, commanded, np.array([0.125, -0.25]), 0.01)
    written, expected = TYPES.encode(message), CDR[name]
    # Bytes 2 and 3 are options of the encapsulation, which nobody reads.
    assert written[:2] == expected[:2]
    assert written[4:] == expected[4:]


def test_what_cyclone_dds_writes_is_read() -> None:
    joints = TYPES.decode(CDR["joint_state"], JOINT_STATE)
    assert joints.name == ["lift", "pan"]
    assert joints.position.tolist() == [0.125, -0.25]
    assert joints.velocity.tolist() == [1.5, 2.5]
    assert seconds(joints.header.stamp) == pytest.approx(12 + 345e-9)
    assert TYPES.decode(CDR["image"], IMAGE).step == 7
    assert bytes(TYPES.decode(CDR["compressed_image"], COMPRESSED_IMAGE).data) == b"\xff\xd8\xff"
    with pytest.raises(RobotError, match="no sensor_msgs/msg/JointState"):
        TYPES.decode(CDR["joint_state"][:40], JOINT_STATE)


def test_distributions_have_their_hashes() -> None:
    assert Types("humble").hash(JOINT_STATE) == "TypeHashNotSupported"
    assert TYPES.hash(JOINT_STATE).startswith("RIHS01_a13ee3a3")
    with pytest.raises(ConfigError, match="distro must be one of humble, jazzy"):
        Types("noetic")


def test_targets_reach_the_arm_and_are_measured_at_the_time_of_their_stamps(ros: Ros) -> None:
    robot = make_live("ros2", ros.options)
    try:
        assert is_driver("ros2")
        assert robot.spec.actions["joints"].names == ("pan", "lift")
        end = time.monotonic() + 20
        seen = robot.observe()
        while np.abs(seen.data["joints"] - [0.5, -0.5]).max() > 0.01:
            assert time.monotonic() < end
            assert robot.command(Command(np.array([0.5, -0.5]), "policy")).tolist() == [0.5, -0.5]
            time.sleep(0.01)
            seen = robot.observe()
        assert ros.commands()[-1].tolist() == [-0.5, 0.5], "lift, pan"
        assert 0 <= seen.time - seen.stamps["joints"] < 0.5, "its clock is 100 s ahead"
        with pytest.raises(RobotError, match="takes 2 numbers"):
            robot.command(Command(np.array([np.nan, 0]), "policy"))
    finally:
        robot.close()


def test_a_router_that_is_not_there_and_a_topic_that_never_comes_are_told(
    ros: Ros, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ros2_robot, "START_SECONDS", 1.0)
    with pytest.raises(RobotError, match=r"no router of Zenoh answers at 'tcp/127\.0\.0\.1:1'"):
        make_live("ros2", {**ros.options, "connect": "tcp/127.0.0.1:1"})
    ros.topics.write_text(TOPICS.replace("/joint_states", "/states"))
    with pytest.raises(RobotError, match=r"/states does not come; published are .*/joint_states"):
        make_live("ros2", ros.options)
    ros.topics.write_text(TOPICS.replace("names: [pan, lift]", "names: [wrist, elbow]"))
    with pytest.raises(RobotError, match="topic /joint_states has only lift, pan"):
        make_live("ros2", ros.options)
    ros.topics.write_text(TOPICS.replace("names: [pan, lift]", "names: [pan, elbow]"))
    with pytest.raises(RobotError, match="no position of elbow; it has that of lift, pan"):
        make_live("ros2", ros.options)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("hz: 100\n", ""), "needs actions, hz, observations, policy_hz"),
        (("hz: 100\n", "hz: fast\n"), "hz must be a number, not 'fast'"),
        (("{topic: /joint_states,", "{topic: joint_states,"), "a topic that begins with /"),
        (("names: [pan, lift]}", "value: torque, names: [pan, lift]}"), "effort, position, veloc"),
        (("measured_by: joints", "type: std_msgs/msg/String"), "actions.joints.type must be one"),
        (("measured_by: joints", "measured: joints"), "unknown entry measured"),
        (("low: [-2, -2]", "low: [-2]"), "low has 1 elements, the field has 2"),
        (("hz: 100\n", "hz: 0\n"), "hz must be above 0, not 0"),
        (("names: [pan, lift]}", "names: [lift, pan]}"), "in the order of the controller"),
        (("names: [pan, lift]}", "names: [pan, pan]}"), "has a joint twice"),
        (
            ("names: [pan, lift]}", "value: velocity, names: [pan, lift]}"),
            "only positions are sent",
        ),
        (("measured_by: joints", "measured_by: joints\n    unit: deg"), "unit is deg, and joints"),
        (("    measured_by: joints\n", ""), "measured_by must be one of joints, not ''"),
        (("actions:\n", TWICE), "is sent on the topic of more"),
    ],
)
def test_a_file_of_topics_that_is_wrong_is_told(
    tmp_path: Path, changed: tuple[str, str], said: str
) -> None:
    path = tmp_path / "arm.yaml"
    path.write_text(TOPICS.replace(*changed, 1))
    with pytest.raises((ConfigError, RobotError), match=said):
        read_topics(str(path))


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("stops", "s old"),
        ("nan", "holds what is no number"),
        ("renamed", "has no position of lift"),
        ("cut", "no sensor_msgs/msg/JointState"),
        ("clock back", "s old"),
        ("killed", "s old"),
    ],
)
def test_what_goes_wrong_holds_the_arm(ros: Ros, tmp_path: Path, trouble: str, told: str) -> None:
    demos = tmp_path / "demos"
    spec = read_topics(str(ros.topics)).spec
    t = np.arange(600) / spec.policy_hz
    action = (0.5 * np.sin(1.2 * t)[:, None] + [0.0, 0.1]).astype(np.float32)
    with DemoStore.create(demos, spec) as store:
        store.append(Episode({"joints": action, "action": action, "time": t}, spec))

    def spoil() -> None:
        until(
            lambda: len(ros.commands()) > 20 and np.ptp(ros.commands()[-20:], axis=0).max() > 1e-3
        )
        time.sleep(0.5)
        if trouble == "killed":
            ros.process.kill()
        else:
            ros.trouble.write_text(trouble)

    threading.Thread(target=spoil, daemon=True).start()
    out = tmp_path / "out"
    settings = [f"actions={demos}", "robot=ros2", f"options.topics={ros.topics}", f"out={out}"]
    settings += [f"options.connect={ros.connect}", "unattended=true", "seconds=30"]
    assert main(["run", *settings]) == 1
    events = (out / "events.jsonl").read_text()
    assert "active -> fault: " in events
    assert told in events
    if trouble != "killed":
        assert np.ptp(ros.commands()[-2:], axis=0).max() < 1e-9, "it has come to rest"


def test_the_files_of_the_page_are_read(tmp_path: Path) -> None:
    page = (TESTS.parent / "docs" / "ros2.md").read_text(encoding="utf-8")
    topics, cameras = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (tmp_path / "arm.yaml").write_text(topics)
    (tmp_path / "cameras.yaml").write_text(cameras)
    table = read_topics(str(tmp_path / "arm.yaml"))
    assert table.spec.actions["joints"].measured_by == "joints"
    assert set(read_cameras(str(tmp_path / "cameras.yaml"))) == {"front", "wrist"}


def test_a_driver_that_is_started_anew_is_not_sent_where_the_old_one_was(ros: Ros) -> None:
    robot = make_live("ros2", ros.options)
    told: list[str] = []
    safe = SafeRobot(robot, Limits.of(robot.spec), on_event=told.append)
    hold, away = Command(None, "operator"), Command(np.array([0.3, -0.3]), "policy")

    def tick(command: Command, seconds: float) -> None:
        for _ in range(round(100 * seconds)):
            safe.observe()
            safe.command(command)
            time.sleep(0.01)

    try:
        tick(hold, 0.2)
        safe.go(State.HOLD)
        safe.go(State.ACTIVE)
        tick(away, 2.0)
        assert np.abs(ros.commands()[-1] - [-0.3, 0.3]).max() < 0.01
        ros.process.kill()
        ros.process.communicate()
        tick(away, 1.6)
        assert safe.state is State.FAULT, told
        before = len(ros.commands())
        ros.start()
        tick(away, 5.0)
        assert len(ros.commands()) == before, "nobody has met it yet"
        safe.go(State.HOLD)
        tick(hold, 0.5)
        assert np.abs(ros.commands()[before:]).max() < 0.01, "it is met where it stands"
    finally:
        robot.close()


def test_joints_of_others_on_the_same_topic_are_passed_over(ros: Ros) -> None:
    finger = TYPES.decode(CDR["joint_state"], JOINT_STATE)
    finger.name[:] = ["finger", "thumb"]
    over = publish_pictures(ros, "/joint_states", JOINT_STATE, TYPES.encode(finger))
    robot = make_live("ros2", ros.options)
    try:
        for _ in range(50):
            assert robot.observe().data["joints"].shape == (2,)
            time.sleep(0.01)
    finally:
        over.set()
        robot.close()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"node": "a/b"}, "'a/b' is no name of a node"),
        ({"domain": -1}, "domain must be a whole number"),
        ({"connect": "localhost:7447"}, "which is like tcp/host:7447"),
    ],
)
def test_what_ros_would_not_take_is_told(ros: Ros, changed: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, RobotError), match=said):
        make_live("ros2", {**ros.options, **changed})


def test_python_ends_where_a_robot_was_not_closed(ros: Ros) -> None:
    program = "import sys; from fewstep.envs.hardware.registry import make_live\n"
    program += f"robot = make_live('ros2', {ros.options!r}); print(robot.observe().time > 0)"
    said = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60)
    assert said == "True\n"


def test_clocks_are_compared_by_what_came_soonest() -> None:
    offset = ClockOffset()
    assert offset.here(0.0, 7.0) == 7.0
    for k in range(40):
        stamp, transport = 500 + 0.1 * k, 0.001 + 0.05 * (k % 2)
        assert offset.here(stamp, stamp - 400 + transport) == pytest.approx(
            stamp - 400 + 0.001, abs=1e-6
        )
    assert offset.seconds == pytest.approx(-399.999)
    set_back = offset.here(474.0, 104.0)
    assert set_back == pytest.approx(74.0, abs=0.01), "old, until the window has passed"
    assert offset.here(485.0, 115.0) == pytest.approx(115.0, abs=0.01)


def publish_pictures(ros: Ros, topic: str, kind: str, content: bytes) -> threading.Event:
    """Publish the same picture again and again, until the event is set."""
    graph = Graph("camera", TYPES, ros.connect)
    publisher = graph.publish(topic, kind)
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            publisher.send(content)
        graph.close()

    threading.Thread(target=work, daemon=True).start()
    return over


def camera(ros: Ros, topic: str) -> Any:
    return open_camera(CameraConfig(f"ros2:{topic}", options={"connect": ros.connect}))


def test_a_topic_of_images_is_a_camera(ros: Ros) -> None:
    over = publish_pictures(ros, "/camera/image_raw", IMAGE, CDR["image"])
    read = camera(ros, "/camera/image_raw")
    try:
        stamp, picture = read.read()
        assert picture.tolist() == [[[3, 2, 1], [6, 5, 4]], [[9, 8, 7], [12, 11, 10]]]
        assert abs(stamp - time.monotonic()) < 5
    finally:
        over.set()
        read.close()


def test_a_topic_of_compressed_images_is_a_camera(ros: Ros) -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), [200, 100, 50], np.uint8)).save(out, "PNG")
    layout = TYPES.decode(CDR["compressed_image"], COMPRESSED_IMAGE)
    message = TYPES.make(
        COMPRESSED_IMAGE,
        header=layout.header,
        format="png",
        data=np.frombuffer(out.getvalue(), np.uint8),
    )
    topic = "/camera/compressed"
    over = publish_pictures(ros, topic, COMPRESSED_IMAGE, TYPES.encode(message))
    read = camera(ros, topic)
    try:
        assert (read.read()[1] == [200, 100, 50]).all()
    finally:
        over.set()
        read.close()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ((b"bgr8", b"rgg8"), "encoding 'rgg8'; valid: rgb8, bgr8"),
        (
            (b"\x07\x00\x00\x00\x0e", b"\x05\x00\x00\x00\x0e"),
            "a picture is shorter than it says",
        ),
    ],
)
def test_pictures_that_cannot_be_are_told(
    ros: Ros, changed: tuple[bytes, bytes], said: str
) -> None:
    over = publish_pictures(ros, "/camera/image_raw", IMAGE, CDR["image"].replace(*changed))
    read = camera(ros, "/camera/image_raw")
    try:
        with pytest.raises(RobotError, match=said):
            read.read()
    finally:
        over.set()
        read.close()
