"""A person records demonstrations.

A device, and a robot, which is a simulation in real time or one with limits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import Any

from ...demos.recording.experts import require_positive
from ...demos.recording.session import Session
from ...demos.recording.start_seeds import next_seed
from ...demos.store import DemoStore
from ...envs import Robot, RobotError, Spec
from ...envs.cameras.camera_config import camera_names, read_cameras, without
from ...envs.cameras.pictured_frames import PictureFinder
from ...envs.control.control_config import ControlConfig, OperatorActor
from ...envs.control.frames import FrameReader
from ...envs.control.remote_hand import HandSender
from ...envs.control.telemetry import RunLog
from ...envs.hardware.registry import is_driver, make_live
from ...envs.interrupts import ended_by_signals
from ...envs.mailbox import empty_memory
from ...envs.safety.limits import read_limits
from ...envs.sim.real_time import Live
from ...envs.sim.registry import METAWORLD, TASKS, make_tool
from ...envs.teleop.devices import DEVICES, Keyboard
from ...envs.teleop.drive import Device, Drive, Leader, require_leader
from ...envs.teleop.web_page import Page
from .hand_session import HandSession
from .held_device import HeldDevice, make_leader
from .supervisor import START_SECONDS, Supervisor

PAGE = "page"
PATIENCE_SECONDS = 600.0  # that a person has for an episode in simulation
MakeStore = Callable[[Spec], DemoStore]
Log = Callable[[str], None]


@dataclass(frozen=True)
class TeleopSession:
    """What is driven, with what. device: PAGE, one of DEVICES, or a robot that leads.

    The rest as in `fewstep run`.
    """

    name: str
    options: Mapping[str, Any]
    device: str
    limits: str = ""
    unlimited: Sequence[str] = ()
    port: int = 8007  # of the page
    priority: int = 50
    out: str = "out/record"  # log of a robot that is no simulation
    # of a simulated task, to record as images: names; of a robot as in `fewstep run`
    cameras: Any = None
    leader: Mapping[str, Any] = field(default_factory=dict)  # what a leader arm's maker takes

    def record(self, make_store: MakeStore, episodes: int, seed: int, log: Log) -> int:
        """Until so many are kept, or the person quits.

        The store is made once there are a robot and a device.
        seed: of the first start; negative for one after those of the episodes that the store holds.
        """
        require_positive(episodes=episodes)
        if not is_driver(self.name):
            return self._record_simulation(make_store, episodes, seed, log)
        if self.device == PAGE:
            raise RobotError(f"a page shows simulated tasks only, and {self.name!r} is none")
        with ended_by_signals(), ExitStack() as stack:
            return self._record_robot(make_store, episodes, seed, log, stack)

    def _record_simulation(self, make_store: MakeStore, episodes: int, seed: int, log: Log) -> int:
        def log_everywhere(text: str) -> None:
            log(text)
            if isinstance(device, Page):
                device.log(text, recording=session.recording)

        with ExitStack() as stack:
            robot = self._simulation()
            stack.callback(robot.close)
            actor, device = self._hold(robot, stack)
            store = stack.enter_context(make_store(robot.spec))
            show = _show_nothing
            if isinstance(device, Page):
                show = partial(device.show, robot.robot.render)
            buttons = device if isinstance(actor, Leader) else None
            session = Session(
                robot, actor, store, log_everywhere, buttons, next_seed(store, seed), show
            )
            if isinstance(actor, Drive):
                actor.on_event = session.on_event
            if isinstance(device, Page):
                log(f"open {device.address}")  # and not on the page: its address is a secret
            else:
                log_everywhere(cleandoc(type(device).__doc__ or ""))
            kept = session.run(episodes)
            log_everywhere(f"{kept} kept; {store.path} now has {store.size}")
        return kept

    def _simulation(self) -> Live:
        built_in = self.name in TASKS or self.name.startswith(METAWORLD)
        options: dict[str, Any] = {}
        if built_in:
            options["seconds"] = PATIENCE_SECONDS
        if built_in and self.device == PAGE:
            options |= {"pictures": True, "quick": True}
        if self.cameras is not None:
            options["cameras"] = camera_names(self.cameras)
        made = make_live(self.name, {**options, **self.options})
        if not isinstance(made, Live):
            raise RobotError(f"{self.name!r} is no simulated task")
        return made

    def _hold(self, robot: Robot, stack: ExitStack) -> tuple[Drive | Leader, Device]:
        """Who acts, and the device on which events are pressed."""
        leader = make_leader(self.device, self.leader, (PAGE, *DEVICES), stack)
        if leader is None:
            tool: Any = make_tool(self.name, robot.spec)
            device = Page(tool, port=self.port) if self.device == PAGE else DEVICES[self.device]()
            stack.callback(device.close)
            return Drive(device, tool, robot.spec), device
        device = Keyboard()
        stack.callback(device.close)
        return Leader(leader, robot.spec), device

    def _record_robot(
        self, make_store: MakeStore, episodes: int, seed: int, log: Log, stack: ExitStack
    ) -> int:
        """Everything that moves the robot passes its control process, as in `fewstep run`."""
        log("This is no certified safety function: the emergency stop comes first.")
        leader = make_leader(self.device, self.leader, tuple(DEVICES), stack)
        hands, frames = empty_memory(), empty_memory()
        stack.callback(os.close, hands)
        stack.callback(os.close, frames)
        config = ControlConfig(
            robot=self.name,
            options=dict(self.options),
            limits=read_limits(self.limits),
            limits_file=self.limits,
            unlimited=tuple(self.unlimited),
            priority=self.priority,
            operator=OperatorActor(leader is not None, hands),
            frames=frames,
        )
        cameras = {} if self.cameras is None else read_cameras(self.cameras)
        supervisor = Supervisor(
            RunLog(Path(self.out)), config, log, fds=(hands, frames), cameras=cameras
        )
        stack.callback(_close, supervisor, log)
        spec = Spec.from_json(supervisor.wait("made", seconds=START_SECONDS)["spec"])
        if leader is None:
            make_tool(self.name, spec)  # says at once what it lacks
        else:
            require_leader(leader, spec)
        hand, reader = HandSender(spec, hands), FrameReader(without(spec, cameras), frames)
        stack.callback(hand.close)
        stack.callback(reader.close)
        self._begin(supervisor, spec, log)
        device = Keyboard() if leader is not None else DEVICES[self.device]()
        stack.callback(device.close)
        store = stack.enter_context(make_store(spec))
        log(cleandoc(type(device).__doc__ or ""))
        held = HeldDevice(device, leader, spec, hand)
        pictures = PictureFinder(supervisor.cameras.rings if supervisor.cameras else {})
        session = HandSession(
            supervisor, reader, pictures, held, store, next_seed(store, seed), log
        )
        kept = session.run(episodes)
        log(f"{kept} kept; {store.path} now has {store.size}")
        return kept

    def _begin(self, supervisor: Supervisor, spec: Spec, log: Log) -> None:
        """Let the control process begin, and write down what it runs with."""
        supervisor.order("begin")
        ready = supervisor.wait("ready", seconds=START_SECONDS)
        log(f"ready at {ready['hz']:g} Hz; {ready['scheduling']}")
        supervisor.run_log.facts(
            spec,
            robot=self.name,
            options=sorted(self.options),
            teleop=self.device,
            limits=ready["limits"],
        )


def _show_nothing() -> None:
    """Let nobody look on."""


def _close(supervisor: Supervisor, log: Callable[[str], None]) -> None:
    """End the control process, which brakes first; RobotError where that went wrong."""
    wrong = supervisor.close()
    if wrong:
        raise RobotError("; ".join(wrong))
    log("stopped")
