"""A sitting: `fewstep record teleop=...`, in which a person drives a robot and records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any

from rich.console import Console

from ..demos.session import Session
from ..demos.store import DemoStore
from ..envs import Robot
from ..envs.devices import DEVICES, Keyboard
from ..envs.limits import Limits
from ..envs.live import Live
from ..envs.robots import make_live
from ..envs.safety import SafeRobot, State
from ..envs.tasks import make_tool
from ..envs.teleop import Drive, Leader
from .run import read_limits


@dataclass(frozen=True)
class Sitting:
    """What is driven, with what. device: one of DEVICES, or a robot that leads; the rest is as in `fewstep run`."""

    name: str
    options: Mapping[str, Any]
    device: str
    limits: str = ""
    free: Sequence[str] = ()

    @contextmanager
    def robot(self, console: Console) -> Iterator[Robot]:
        """The robot; one that is no simulation within its limits, and active."""
        made = make_live(self.name, self.options)
        robot = made if isinstance(made, Live) else Hardware(made, self, console)
        try:
            yield robot
        finally:
            robot.close()

    def record(self, robot: Robot, store: DemoStore, episodes: int, seed: int, console: Console) -> int:
        """Until so many are kept, or the person quits."""

        def tell(text: str) -> None:
            console.print(text.replace("\n", "\r\n") + "\r", markup=False)  # a raw terminal does not return by itself

        with ExitStack() as stack:
            device = DEVICES.get(self.device, Keyboard)()
            stack.callback(device.close)
            actor: Any
            if self.device in DEVICES:
                actor = Drive(device, make_tool(self.name, robot.spec), robot.spec)
                session = Session(robot, actor, store, tell, seed=seed)
                actor.hear = session.hear
            else:
                leader = make_live(self.device, {})
                stack.callback(leader.close)
                session = Session(robot, Leader(leader, robot.spec), store, tell, device, seed)
            tell(cleandoc(type(device).__doc__ or ""))
            kept = session.run(episodes)
            tell(f"{kept} kept; {store.path} now has {len(store)} episodes, {store.frames} frames")
        return kept


class Hardware(SafeRobot):
    """A SafeRobot that is active from the start, and after every reset."""

    def __init__(self, robot: Robot, sitting: Sitting, console: Console) -> None:
        limits = Limits.of(robot.spec, read_limits(sitting.limits), sitting.free)
        super().__init__(robot, limits, hear=lambda text: console.print(text + "\r", markup=False))

    def reset(self, seed: int | None = None) -> None:
        """Reset, and be active again unless a fault is latched."""
        super().reset(seed)
        if self.state is State.DISARMED:
            self.go(State.HOLD)
        if self.state is State.HOLD:
            self.go(State.ACTIVE)
