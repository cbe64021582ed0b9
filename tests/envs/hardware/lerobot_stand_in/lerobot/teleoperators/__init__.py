"""The teleoperator class and its configurations."""

from typing import ClassVar

from .. import registry

make_teleoperator_from_config = registry.make


class TeleoperatorConfig(registry.Registered):
    choices: ClassVar[dict] = {}


class Teleoperator:
    def __init__(self, config):
        pass
