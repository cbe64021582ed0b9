"""The robot class and its configurations."""

from typing import ClassVar

from .. import registry

make_robot_from_config = registry.make


class RobotConfig(registry.Registered):
    choices: ClassVar[dict] = {}


class Robot:
    def __init__(self, config):
        pass
