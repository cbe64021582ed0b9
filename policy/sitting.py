"""A sitting: `fewstep record teleop=...`, in which a person drives a robot and records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import cleandoc
from typing import Any

from rich.console import Console

from ..demos.session import Session
from ..demos.store import DemoStore
from ..envs import Robot, RobotError
from ..envs.devices import DEVICES, Keyboard
from ..envs.limits import Limits
from ..envs.live import Live
from ..envs.page import Page
from ..envs.robots import make_live
from ..envs.safety import SafeRobot
from ..envs.states import State
from ..envs.tasks import METAWORLD, TASKS, make_tool
from ..envs.teleop import Device, Drive, Leader
from .run import read_limits

PAGE = "page"
DEMONSTRATIONS = 10_000  # the first start seed of demonstrations; they end where test seeds begin
PATIENCE = 600.0  # s that a person has for an episode in simulation


@dataclass(frozen=True)
class Sitting:
    """What is driven, with what. device: PAGE, one of DEVICES, or a robot that leads; the rest as in `fewstep run`."""

    name: str
    options: Mapping[str, Any]
    device: str
    limits: str = ""
    free: Sequence[str] = ()
    port: int = 8007  # of the page

    @contextmanager
    def robot(self, console: Console) -> Iterator[Robot]:
        """The robot; one that is no simulation within its limits, and active."""
        simulated = self.name in TASKS or self.name.startswith(METAWORLD)
        looks = {"pictures": True, "quick": True} if self.device == PAGE else {}
        made = make_live(self.name, {**({"seconds": PATIENCE} | looks if simulated else {}), **self.options})
        if self.device == PAGE and not isinstance(made, Live):
            raise RobotError(f"a page shows simulated tasks only, and {self.name!r} is none")
        robot = made if isinstance(made, Live) else Hardware(made, self, console)
        try:
            yield robot
        finally:
            robot.close()

    def record(self, robot: Any, make: Callable[[], DemoStore], episodes: int, seed: int, console: Console) -> int:
        """Until so many are kept, or the person quits; the store is made once there is a device.

        seed: of the first start; negative for one after those of the episodes that the store holds.
        """

        def tell(text: str) -> None:
            console.print(text.replace("\n", "\r\n") + "\r", markup=False)  # a raw terminal does not return by itself
            if isinstance(device, Page):
                device.tell(text, recording=session.recording)

        with ExitStack() as stack:
            actor, device = self._hold(robot, stack)
            store = stack.enter_context(make())
            show = partial(device.show, robot.robot.render) if isinstance(device, Page) else lambda: None
            words = device if isinstance(actor, Leader) else None
            first = seed if seed >= 0 else DEMONSTRATIONS + len(store)
            session = Session(robot, actor, store, tell, words, first, show)
            if isinstance(actor, Drive):
                actor.hear = session.hear
            tell(f"open {device.address}" if isinstance(device, Page) else cleandoc(type(device).__doc__ or ""))
            kept = session.run(episodes)
            tell(f"{kept} kept; {store.path} now has {store.size}")
        return kept

    def _hold(self, robot: Robot, stack: ExitStack) -> tuple[Drive | Leader, Device]:
        """Who acts, and the device that says words."""
        if self.device in (PAGE, *DEVICES):
            tool: Any = make_tool(self.name, robot.spec)
            device = Page(tool, port=self.port) if self.device == PAGE else DEVICES[self.device]()
            stack.callback(device.close)
            return Drive(device, tool, robot.spec), device
        leader = make_live(self.device, {})
        stack.callback(leader.close)
        device = Keyboard()
        stack.callback(device.close)
        return Leader(leader, robot.spec), device


class Hardware(SafeRobot):
    """A SafeRobot that is active from the start, and after every reset."""

    def __init__(self, robot: Robot, sitting: Sitting, console: Console) -> None:
        limits = Limits.of(robot.spec, read_limits(sitting.limits), sitting.free)
        super().__init__(robot, limits, hear=lambda text: console.print(text + "\r", markup=False))

    def reset(self, seed: int | None = None) -> None:
        """Reset, and be active again unless a fault is latched."""
        if self.state is State.DISARMED:
            self.go(State.HOLD)
        super().reset(seed)
        if self.state is State.HOLD:
            self.go(State.ACTIVE)
