"""The outside world: what a robot is, time, the control loop, simulated tasks. No torch here."""

from .clock import Clock, WallClock, ticks
from .errors import (
    CheckpointError,
    ConfigError,
    DataError,
    FewstepError,
    FewstepWarning,
    ProtocolError,
    RobotError,
    SpecError,
)
from .loop import Actor, run_episode
from .robot import Command, Obs, Outcome, Robot, Step
from .spec import Field, Spec, incompatibilities

__all__ = [
    "Actor",
    "CheckpointError",
    "Clock",
    "Command",
    "ConfigError",
    "DataError",
    "FewstepError",
    "FewstepWarning",
    "Field",
    "Obs",
    "Outcome",
    "ProtocolError",
    "Robot",
    "RobotError",
    "Spec",
    "SpecError",
    "Step",
    "WallClock",
    "incompatibilities",
    "run_episode",
    "ticks",
]
