"""Recordings by hand: a person, a device, and a robot, which is a simulation in real time or one with limits."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import Any

from rich.console import Console

from ...demos.recording.session import Session
from ...demos.recording.start_seeds import next_seed
from ...demos.store import DemoStore
from ...envs import Robot, RobotError, Spec
from ...envs.control.frames import FrameReader
from ...envs.control.mailbox import empty_memory
from ...envs.control.process import ControlConfig, OperatorActor
from ...envs.control.remote_hand import HandSender
from ...envs.hardware.registry import is_driver, make_live
from ...envs.interrupts import ended_by_signals
from ...envs.robot import measured
from ...envs.sim.real_time import Live
from ...envs.sim.registry import METAWORLD, TASKS, make_tool
from ...envs.teleop.devices import DEVICES, Keyboard
from ...envs.teleop.drive import Device, Drive, Leader
from ...envs.teleop.web_page import Page
from ..serving.hand_session import HandSession
from ..serving.run_log import RunLog
from ..serving.supervisor import START_SECONDS, Node
from .run import read_limits
from .tables import say

PAGE = "page"
PATIENCE = 600.0  # s that a person has for an episode in simulation
Open = Callable[[Spec], DemoStore]


@dataclass(frozen=True)
class TeleopSession:
    """What is driven, with what. device: PAGE, one of DEVICES, or a robot that leads; the rest as in `fewstep run`."""

    name: str
    options: Mapping[str, Any]
    device: str
    limits: str = ""
    unlimited: Sequence[str] = ()
    port: int = 8007  # of the page
    priority: int = 50
    out: str = "out/record"  # log of a robot that is no simulation

    def record(self, make: Open, episodes: int, seed: int, console: Console) -> int:
        """Until so many are kept, or the person quits; the store is made once there are a robot and a device.

        seed: of the first start; negative for one after those of the episodes that the store holds.
        """
        if not is_driver(self.name):
            return self._record_simulation(make, episodes, seed, console)
        if self.device == PAGE:
            raise RobotError(f"a page shows simulated tasks only, and {self.name!r} is none")
        with ended_by_signals(), ExitStack() as stack:
            return self._record_robot(make, episodes, seed, console, stack)

    def _record_simulation(self, make: Open, episodes: int, seed: int, console: Console) -> int:
        def tell(text: str) -> None:
            _print(console, text)
            if isinstance(device, Page):
                device.tell(text, recording=session.recording)

        with ExitStack() as stack:
            robot = self._simulation()
            stack.callback(robot.close)
            actor, device = self._hold(robot, stack)
            store = stack.enter_context(make(robot.spec))
            show = (
                partial(device.show, robot.robot.render)
                if isinstance(device, Page)
                else lambda: None
            )
            words = device if isinstance(actor, Leader) else None
            session = Session(robot, actor, store, tell, words, next_seed(store, seed), show)
            if isinstance(actor, Drive):
                actor.hear = session.hear
            if isinstance(device, Page):
                _print(
                    console, f"open {device.address}"
                )  # and not on the page: its address is a secret
            else:
                tell(cleandoc(type(device).__doc__ or ""))
            kept = session.run(episodes)
            tell(f"{kept} kept; {store.path} now has {store.size}")
        return kept

    def _simulation(self) -> Live:
        built_in = self.name in TASKS or self.name.startswith(METAWORLD)
        looks = {"pictures": True, "quick": True} if self.device == PAGE else {}
        made = make_live(
            self.name, {**({"seconds": PATIENCE} | looks if built_in else {}), **self.options}
        )
        if not isinstance(made, Live):
            raise RobotError(f"{self.name!r} is no simulated task")
        return made

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

    def _record_robot(
        self, make: Open, episodes: int, seed: int, console: Console, stack: ExitStack
    ) -> int:
        """Everything that moves the robot passes its control process, as in `fewstep run`."""
        tell = partial(_print, console)
        console.print(
            "This is no certified safety function: the emergency stop comes first.", style="bold"
        )
        leader = None if self.device in DEVICES else make_live(self.device, {})
        if leader is not None:
            stack.callback(leader.close)
        hands, frames = empty_memory(), empty_memory()
        stack.callback(os.close, hands)
        stack.callback(os.close, frames)
        config = ControlConfig(
            robot=self.name,
            options=dict(self.options),
            limits=read_limits(self.limits),
            unlimited=tuple(self.unlimited),
            priority=self.priority,
            operator=OperatorActor(leader is not None, hands, frames),
        )
        node = Node(RunLog(Path(self.out)), config, tell, fds=(hands, frames))
        stack.callback(_close, node, tell)
        spec = Spec.from_json(node.wait("made", seconds=START_SECONDS)["spec"])
        if leader is None:
            make_tool(self.name, spec)  # says at once what it lacks
        else:
            measured(spec, leader.observe())
        hand, reader = HandSender(spec, hands), FrameReader(spec, frames)
        stack.callback(hand.close)
        stack.callback(reader.close)
        node.order("begin")
        ready = node.wait("ready", seconds=START_SECONDS)
        node.log.facts(spec, robot=self.name, options=sorted(self.options), teleop=self.device)
        device = Keyboard() if leader is not None else DEVICES[self.device]()
        stack.callback(device.close)
        store = stack.enter_context(make(spec))
        tell(f"ready at {ready['hz']:g} Hz; {ready['scheduling']}")
        tell(cleandoc(type(device).__doc__ or ""))
        session = HandSession(
            node, reader, hand, device, leader, store, next_seed(store, seed), tell
        )
        kept = session.run(episodes)
        tell(f"{kept} kept; {store.path} now has {store.size}")
        return kept


def _print(console: Console, text: str) -> None:
    """Say something on a raw terminal, which does not return to the left by itself."""
    for line in text.splitlines():
        say(console, line, end="\r\n")


def _close(node: Node, tell: Callable[[str], None]) -> None:
    """End the control process, which brakes first; RobotError where that went wrong."""
    if wrong := node.close():
        raise RobotError("; ".join(wrong))
    tell("stopped")
