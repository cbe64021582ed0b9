"""Plug-ins."""

import importlib


def register_third_party_plugins():
    importlib.import_module("lerobot_robot_toy")
