"""Arms of lerobot, on a toy arm in the real lerobot where LEROBOT_PYTHONS has it, else a stand-in.

`LEROBOT_PYTHONS=/env/bin/python[:...] python -m pytest tests/envs/hardware/test_lerobot.py` names
the Pythons of environments in which lerobot is installed.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fewstep.envs import Command, ConfigError, RobotError
from fewstep.envs.hardware import lerobot_arm
from fewstep.envs.hardware.lerobot_arm import LeRobotArm
from fewstep.envs.hardware.registry import is_driver, make_live
from fewstep.envs.teleop.drive import Leader
from fewstep.envs.testing import RobotContract

HERE = Path(__file__).parent
REAL = [path for path in os.environ.get("LEROBOT_PYTHONS", "").split(":") if path]
PYTHONS = REAL or [sys.executable]


@pytest.fixture(autouse=True)
def plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [HERE / "lerobot_toy", *([] if REAL else [HERE / "lerobot_stand_in"])]
    monkeypatch.setenv("PYTHONPATH", ":".join(map(str, folders)))


@pytest.fixture(params=PYTHONS)
def python(request: pytest.FixtureRequest) -> str:
    return request.param


def make(python: str, port: Path, **options: Any) -> Any:
    settings = {"python": python, "port": str(port), "id": "toy", "hold_seconds": 0.1, **options}
    if not REAL:
        settings.pop("id")
    return make_live("lerobot:toy_arm", settings)


def log(port: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"{port}.log").read_text().splitlines()]


class TestContract(RobotContract):
    simulated = False
    seconds = 1.0

    @pytest.fixture(autouse=True)
    def where(self, python: str, tmp_path: Path) -> None:
        self.python = python
        self.port = tmp_path / "port"

    def make_robot(self) -> Any:
        return make(self.python, self.port)


def test_names_units_and_reach_come_from_the_arm(python: str, tmp_path: Path) -> None:
    arm = make(python, tmp_path / "port", velocity=30, max_relative_target=0.2, hz=100)
    try:
        joints, gripper = arm.spec.actions["joints"], arm.spec.actions["gripper"]
        assert joints.names == ("shoulder_pan", "elbow_flex") and gripper.names == ("gripper",)
        assert (joints.unit, gripper.unit) == ("deg", "%")
        assert joints.high == pytest.approx((89.98, 89.98), abs=0.01)
        assert joints.low == pytest.approx((-89.98, -89.98), abs=0.01)
        assert (gripper.low, gripper.high) == ((0.0,), (100.0,))
        assert joints.velocity == pytest.approx((20.0, 20.0)) and joints.measured_by == "joints"
        assert arm.spec.command_hz == 100
    finally:
        arm.close()


def test_targets_reach_the_arm_and_are_measured_later(python: str, tmp_path: Path) -> None:
    arm = make(python, tmp_path / "port")
    try:
        first = arm.observe()
        assert first.data["joints"].tolist() == [10, 10]
        assert arm.command(Command(np.array([1.0, 2.0, 300.0]), "operator")).tolist() == [1, 2, 100]
        end = time.monotonic() + 5
        seen = first
        while seen.data["joints"].tolist() != [1, 2] or seen.data["gripper"] != 100:
            arm.command(Command(np.array([1.0, 2.0, 300.0]), "operator"))
            assert time.monotonic() < end
            time.sleep(0.01)
            seen = arm.observe()
        assert 0 <= seen.time - seen.stamps["joints"] < 0.5
        assert arm.command(Command(None, "operator")).tolist() == [1, 2, 100]
    finally:
        arm.close()


def test_a_leader_is_read_and_takes_no_target(python: str, tmp_path: Path, capfd) -> None:
    options = {"python": python, "port": str(tmp_path / "port"), "hold_seconds": 0.1}
    leader = make_live("lerobot:toy_leader", options)
    try:
        assert leader.observe().data["joints"].tolist() == [20, 20]
        with pytest.raises(RobotError, match="led by a hand"):
            leader.command(Command(np.zeros(3), "operator"))
        arm = make(python, tmp_path / "port")
        try:
            Leader(leader, arm.spec)
            for changed, said in (
                ({"unit": "%"}, "with unit deg"),
                ({"names": ("a", "b")}, "names"),
            ):
                joints = replace(arm.spec.actions["joints"], **changed)
                other = replace(arm.spec, actions=arm.spec.actions | {"joints": joints})
                with pytest.raises(RobotError, match=said):
                    Leader(leader, other)
        finally:
            arm.close()
    finally:
        leader.close()
    assert capfd.readouterr().err.count("support it now") == 1, "a leader holds nothing"


@pytest.mark.parametrize(
    ("trouble", "said"), [("absent", "Could not connect on port"), ("uncalibrated", "calibrate")]
)
def test_an_arm_that_is_not_ready_is_refused(
    python: str, tmp_path: Path, trouble: str, said: str
) -> None:
    port = tmp_path / "port"
    port.write_text(trouble)
    with pytest.raises(RobotError, match=f"lerobot:toy_arm: .*{said}"):
        make(python, port)


def wait_for_trouble(arm: LeRobotArm, said: str) -> None:
    end = time.monotonic() + 10
    with pytest.raises(RobotError, match=said):
        while time.monotonic() < end:
            arm.observe()
            time.sleep(0.02)


def test_an_arm_that_answers_with_errors_is_said_by_its_motor_and_may_recover(
    python: str, tmp_path: Path
) -> None:
    port = tmp_path / "port"
    arm = make(python, port)
    try:
        port.write_text("silent")
        wait_for_trouble(arm, "elbow_flex.*no status packet")
        port.unlink()
        end = time.monotonic() + 5
        while True:
            try:
                arm.observe()
                break
            except RobotError:
                assert time.monotonic() < end
                time.sleep(0.02)
    finally:
        arm.close()


def test_a_process_that_ends_is_an_error_and_one_that_hangs_lets_the_samples_age(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lerobot_arm, "START_SECONDS", 20.0)
    port = tmp_path / "port"
    arm = make(python, port)
    port.write_text("slow")
    time.sleep(0.8)
    seen = arm.observe()
    assert seen.time - seen.stamps["joints"] > 0.5
    began = time.monotonic()
    arm.command(Command(np.zeros(3), "operator"))
    assert time.monotonic() - began < 0.1, "a command waits for the bus"
    port.write_text("dies")
    wait_for_trouble(arm, "its process has ended")
    with pytest.raises(RobotError, match="its process has ended"):
        arm.command(Command(np.zeros(3), "operator"))
    with pytest.raises(RobotError, match="the torque may still be on"):
        arm.close()
    arm.close()


def test_targets_that_are_none_are_refused(python: str, tmp_path: Path) -> None:
    arm = make(python, tmp_path / "port")
    try:
        for wrong in ([np.nan, 0, 0], [5.0], [[1, 2, 3]]):
            with pytest.raises(RobotError, match="takes 3 numbers"):
                arm.command(Command(np.array(wrong), "operator"))
    finally:
        arm.close()


def test_after_a_bus_has_stood_still_the_arm_catches_up_and_does_not_jump(
    python: str, tmp_path: Path
) -> None:
    port = tmp_path / "port"
    arm = make(python, port, velocity=60, hz=50)
    try:
        port.write_text("slow")
        time.sleep(0.3)
        for k in range(40):
            arm.command(Command(np.array([10.0 + k, 10.0, 10.0]), "operator"))
            time.sleep(0.02)
        port.unlink()
        end = time.monotonic() + 5
        while arm.observe().data["joints"][0] < 30:
            arm.command(Command(np.array([49.0, 10.0, 10.0]), "operator"))
            time.sleep(0.02)
            assert time.monotonic() < end
    finally:
        arm.close()
    sent = np.array([entry["sent"][0] for entry in log(port) if "sent" in entry])
    assert np.diff(sent, prepend=10.0).max() <= 1.5 * 60 / 50 + 1e-6


def test_the_end_is_heard_by_a_bus_that_has_stood_still_and_nothing_old_is_sent(
    python: str, tmp_path: Path
) -> None:
    port = tmp_path / "port"
    arm = make(python, port)
    arm.command(Command(np.array([11.0, 10.0, 10.0]), "operator"))
    time.sleep(0.2)
    port.write_text("slow")
    time.sleep(0.3)
    with pytest.raises(RobotError, match="its bus stands still"):
        while True:
            arm.command(Command(np.array([12.0, 10.0, 10.0]), "operator"))
    assert arm.command(Command(None, "operator")).tolist() == [12, 10, 10]
    time.sleep(0.5)
    arm.close()
    done = log(port)
    assert done[-1]["released"]
    late = [entry for entry in done if "sent" in entry and entry["sent"][0] > 11]
    assert not late


def test_closing_holds_first_and_then_lets_the_torque_go(
    python: str, tmp_path: Path, capfd
) -> None:
    port = tmp_path / "port"
    arm = make(python, port, hold_seconds=0.5)
    arm.command(Command(np.array([3.0, 3.0, 3.0]), "operator"))
    time.sleep(0.2)
    arm.close()
    done = log(port)
    assert done[-2]["sent"] == [3, 3, 3] and done[-1]["released"]
    assert done[-1]["at"] - done[-2]["at"] > 0.5
    assert "its torque is let go: support it now" in capfd.readouterr().err


def test_what_cannot_be_is_refused(python: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cameras of lerobot are left out"):
        make(python, tmp_path / "port", cameras={"front": {}})
    with pytest.raises(RobotError, match=r"lerobot:nobody: .*toy_arm"):
        make_live("lerobot:nobody", {"python": python})
    with pytest.raises(RobotError, match="cannot be started"):
        make_live("lerobot:toy_arm", {"python": str(tmp_path / "python")})
    with pytest.raises(RobotError, match="lerobot:toy_arm"):
        make(python, tmp_path / "port", colour="red")
    assert is_driver("lerobot:so101_follower")
    for wrong in ({"hz": 0}, {"hz": "abc"}, {"velocity": -1}, {"hold_seconds": -1}):
        with pytest.raises(ConfigError, match=f"options.{next(iter(wrong))} must be"):
            make(python, tmp_path / "port", **wrong)


def test_without_lerobot_the_way_to_it_is_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(RobotError, match=r"lerobot:so101_follower: .*(draccus|lerobot)"):
        make_live("lerobot:so101_follower", {"port": "/dev/null"})
