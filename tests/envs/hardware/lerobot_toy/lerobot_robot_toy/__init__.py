"""A plug-in of lerobot: an arm whose bus takes 5 ms, and whose troubles a file decides."""

import json
import os
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import SimpleNamespace

from lerobot.robots import Robot, RobotConfig
from lerobot.teleoperators import Teleoperator, TeleoperatorConfig

MOTORS = ("shoulder_pan", "elbow_flex", "gripper")
BUS_SECONDS = 0.005


class Norm(Enum):
    DEGREES = "degrees"
    PER_CENT = "range_0_100"


def make_bus(names):
    motors = {
        name: SimpleNamespace(
            norm_mode=Norm.PER_CENT if name == "gripper" else Norm.DEGREES, model="toy"
        )
        for name in names
    }
    calibration = {name: SimpleNamespace(range_min=0, range_max=2047) for name in names}
    return SimpleNamespace(
        motors=motors, calibration=calibration, model_resolution_table={"toy": 4096}
    )


def trouble(port: str) -> str:
    path = Path(port)
    return path.read_text() if path.exists() else ""


@RobotConfig.register_subclass("toy_arm")
@dataclass
class ToyArmConfig(RobotConfig):
    port: str = ""  # a file that says what is wrong; beside it, what was done
    max_relative_target: float | None = None
    disable_torque_on_disconnect: bool = True


class ToyArm(Robot):
    config_class = ToyArmConfig
    name = "toy_arm"
    motors = MOTORS

    def __init__(self, config):
        super().__init__(config)
        self.config = config
        self.bus = make_bus(self.motors)
        self.at = dict.fromkeys(self.motors, 10.0)
        self.connected = False

    observation_features = property(lambda self: {f"{name}.pos": float for name in self.motors})
    action_features = observation_features
    is_connected = property(lambda self: self.connected)
    is_calibrated = property(lambda self: trouble(self.config.port) != "uncalibrated")

    def note(self, **what):
        with open(self.config.port + ".log", "a") as log:
            log.write(json.dumps(what) + "\n")

    def connect(self, calibrate=True):
        assert not calibrate, "it would ask at the terminal"
        if trouble(self.config.port) == "absent":
            raise ConnectionError(f"Could not connect on port {self.config.port!r}")
        self.connected = True

    def calibrate(self):
        raise AssertionError("nobody asked for it")

    def configure(self):
        pass

    def get_observation(self):
        wrong = trouble(self.config.port)
        time.sleep(1.0 if wrong == "slow" else BUS_SECONDS)
        if wrong == "hangs":
            time.sleep(1000)
        if wrong == "dies":
            os._exit(3)
        if wrong == "silent":
            raise ConnectionError(
                "Failed to sync read 'Present_Position' on ids=[2] ('elbow_flex'): "
                "There is no status packet!"
            )
        return {f"{name}.pos": value for name, value in self.at.items()}

    def send_action(self, action):
        time.sleep(BUS_SECONDS)
        for name in self.motors:
            self.at[name] = float(action[f"{name}.pos"])
        self.note(sent=list(self.at.values()), at=time.monotonic())
        return action

    def disconnect(self):
        self.note(released=True, at=time.monotonic())
        self.connected = False


@TeleoperatorConfig.register_subclass("toy_leader")
@dataclass
class ToyLeaderConfig(TeleoperatorConfig):
    port: str = ""


class ToyLeader(Teleoperator):
    config_class = ToyLeaderConfig
    name = "toy_leader"
    motors = MOTORS

    def __init__(self, config):
        super().__init__(config)
        self.config = config
        self.bus = make_bus(self.motors)

    action_features = property(lambda self: {f"{name}.pos": float for name in self.motors})
    feedback_features = property(lambda self: {})
    is_connected = True
    is_calibrated = True

    def connect(self, calibrate=True):
        pass

    def calibrate(self):
        pass

    def configure(self):
        pass

    def get_action(self):
        time.sleep(BUS_SECONDS)
        return {f"{name}.pos": 20.0 for name in self.motors}

    def send_feedback(self, feedback):
        pass

    def disconnect(self):
        pass
