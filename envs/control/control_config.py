"""What the control process is told at its beginning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..cameras.camera_config import without
from ..cameras.rings import CameraPort
from ..pictures import as_seen
from ..safety.states import WatchdogConfig
from ..spec import Spec
from .messages import Messages


@dataclass(frozen=True)
class PolicyActor:
    """A policy in another process.

    side: of the pictures that it sees [px], as in `as_seen`; cameras: whose pictures it takes from
    shared memory; requests, chunks, bell: file descriptors; the rest as in Agent.
    """

    observation_steps: int
    action_steps: int
    pictures: int
    prefix_length: int
    patience: float
    actuation_delay: float
    agreement: float
    horizon: int
    side: int
    cameras: tuple[str, ...] = ()
    requests: int = -1
    chunks: int = -1
    bell: int = -1

    def asked(self, spec: Spec) -> Spec:
        """Return a policy's Spec as it is asked: its pictures as seen, without those it takes."""
        return without(as_seen(spec, self.side), self.cameras)

    def make_messages(self, spec: Spec) -> Messages:
        """Return what is exchanged with a policy of this Spec."""
        return Messages(
            self.asked(spec),
            observation_steps=self.observation_steps,
            pictures=self.pictures,
            horizon=self.horizon,
        )


@dataclass(frozen=True)
class OperatorActor:
    """A person, who acts alone, or who can take the robot from a policy.

    leader: whether another robot is in their hand; hands: file descriptor of shared memory.
    """

    leader: bool
    hands: int = -1


@dataclass(frozen=True)
class ControlConfig:
    """Everything that the control process is told at its beginning.

    spec: of what shall act, as JSON; None where anything does, and the robot's own Spec holds. Who
    acts is one of policy, operator, replay (a file of recorded actions) and calibrate; with policy
    and operator the person takes the robot from the policy, and gives it back.
    cameras: beside the robot's own, in processes of their own. events, ticks, chunks: file
    descriptors; frames: of shared memory, where somebody records.
    """

    robot: str
    options: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    limits_file: str = ""
    unlimited: tuple[str, ...] = ()
    watchdog: WatchdogConfig = field(default_factory=WatchdogConfig)
    priority: int = 0
    policy: PolicyActor | None = None
    operator: OperatorActor | None = None
    replay: str = ""
    calibrate: bool = False
    cameras: tuple[CameraPort, ...] = ()
    events: int = -1
    ticks: int = -1
    chunks: int = -1
    frames: int = -1
