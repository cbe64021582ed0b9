"""Configurations by name, and the classes that they are for."""

import sys
from typing import ClassVar


class Registered:
    choices: ClassVar[dict] = {}

    @classmethod
    def register_subclass(cls, name):
        def register(kind):
            cls.choices[name] = kind
            return kind

        return register

    @classmethod
    def get_known_choices(cls):
        return cls.choices


def make(config):
    kind = type(config)
    return getattr(sys.modules[kind.__module__], kind.__name__.removesuffix("Config"))(config)
