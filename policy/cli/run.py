"""`fewstep run`: a policy, or recorded actions, on a robot."""

from __future__ import annotations

from dataclasses import dataclass, fields

from omegaconf import MISSING
from rich.console import Console

from ..serving.run import run as run_robot
from ..serving.run_config import Level, RunConfig
from .printing import say
from .prompts import Person

STYLES: dict[Level, str] = {"info": "", "warning": "yellow", "alarm": "bold red"}


@dataclass(frozen=True)
class RunSettings(RunConfig):
    """Run a policy, or recorded actions, on a robot, within limits and with a log.

    No certified safety function: keep a hand on the emergency stop.
    """

    # "simulated", ros2, lerobot:<type>, a task in real time, "module:callable", or an installed one
    robot: str = MISSING


def run(settings: RunSettings, console: Console) -> int:
    """Run with the person at this terminal in charge."""

    def log(text: str, level: Level) -> None:
        say(console, text, style=STYLES[level])

    config = RunConfig(**{field.name: getattr(settings, field.name) for field in fields(RunConfig)})
    return run_robot(config, Person(console), log)
