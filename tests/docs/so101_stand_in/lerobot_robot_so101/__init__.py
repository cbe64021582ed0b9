"""An SO-101 and its leader for the stand-in of lerobot: their names and joints on the toy arm."""

import math
import time
from dataclasses import dataclass

from lerobot.robots import RobotConfig
from lerobot.teleoperators import TeleoperatorConfig
from lerobot_robot_toy import BUS_SECONDS, ToyArm, ToyArmConfig, ToyLeader, ToyLeaderConfig

MOTORS = (
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
)


@RobotConfig.register_subclass("so101_follower")
@dataclass
class SO101FollowerConfig(ToyArmConfig):
    id: str = ""


class SO101Follower(ToyArm):
    config_class = SO101FollowerConfig
    name = "so101_follower"
    motors = MOTORS

    def note(self, **what):
        pass


@TeleoperatorConfig.register_subclass("so101_leader")
@dataclass
class SO101LeaderConfig(ToyLeaderConfig):
    id: str = ""


class SO101Leader(ToyLeader):
    """Swings, as a hand would lead it."""

    config_class = SO101LeaderConfig
    name = "so101_leader"
    motors = MOTORS

    def get_action(self):
        time.sleep(BUS_SECONDS)
        swung = 10 + 5 * math.sin(0.4 * time.monotonic())
        return {f"{name}.pos": swung for name in self.motors}
