"""Plug-ins."""

import importlib
import pkgutil


def register_third_party_plugins():
    for found in pkgutil.iter_modules():
        if found.name.startswith("lerobot_robot_"):
            importlib.import_module(found.name)
