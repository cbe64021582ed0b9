"""A device in a person's hand while a policy acts: it takes the robot, and gives it back."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from ...envs import Spec
from ...envs.control.remote_hand import HandSender
from ...envs.mailbox import empty_memory
from ...envs.teleop.devices import DEVICES, Keyboard
from ...envs.teleop.drive import Device, require_leader
from .held_device import HeldDevice, make_leader
from .run_config import Log, RunConfig

LOOK_SECONDS = 0.008  # between two looks at the device
HOW = {
    "gamepad": "start on the gamepad",
    "spacemouse": "both buttons of the SpaceMouse, or Enter",
}
HOW_BY_KEY = "Enter"


class TakeoverDevice:
    """Is read on a thread of its own while an episode runs, which begins as the policy's.

    fd: of the memory through which the control process is told. log: is given what a person has to
    know. What fails while the policy has the robot is told, and the policy
    goes on; while the person has it, the robot holds, since nothing is heard of them any more.
    """

    def __init__(self, config: RunConfig, log: Log) -> None:
        self.fd = empty_memory()
        self._log = log
        self.taken = False  # whether the person has the robot, or wants it
        self._opened = ExitStack()
        self._opened.callback(os.close, self.fd)
        self._leader = make_leader(config.teleop, config.leader, tuple(DEVICES), self._opened)
        self._make_device: Callable[[], Device] = DEVICES.get(config.teleop, Keyboard)
        self._make_device().close()  # says at once what is missing
        self._how = HOW.get(config.teleop, HOW_BY_KEY)

    @property
    def leads(self) -> bool:
        """Whether it is another robot in the person's hand."""
        return self._leader is not None

    def face(self, spec: Spec) -> None:
        """Meet the robot; RobotError where a leader's pose is no command for it."""
        self._spec = spec
        self._hand = HandSender(spec, self.fd)
        self._opened.callback(self._hand.close)
        if self._leader is not None:
            require_leader(self._leader, spec)
        self._log(
            f"in an episode {self._how} takes the robot from the policy, and gives it back", "info"
        )
        if HOW_BY_KEY in self._how and not sys.stdin.isatty():
            self._log("no terminal hears Enter here: the page takes the robot", "warning")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read the device until the episode is over."""
        self.taken = False
        over = threading.Event()
        device = self._make_device()  # a keyboard's terminal is the person's own between episodes
        held = HeldDevice(device, self._leader, self._spec, self._hand)
        thread = threading.Thread(target=self._read, args=(held, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            held.close()
            self._hand.send()  # the robot is the policy's again

    def _read(self, held: HeldDevice, over: threading.Event) -> None:
        try:
            while not over.wait(LOOK_SECONDS):
                for event in held.read(self.taken):
                    self._obey(event)
        except Exception as error:
            held.close()  # a terminal that nobody reads by keys has to hear Ctrl-C again
            self._log(f"nothing is heard of teleop= any more: {error}", "alarm")

    def _obey(self, event: str) -> None:
        if event in ("start", "toggle"):
            self.taken = not self.taken
        if event == "quit":
            os.kill(os.getpid(), signal.SIGINT)  # a terminal that is read by keys sends none

    def close(self) -> None:
        """Let go of everything; may be called again."""
        self._opened.close()


@contextmanager
def takeover_device(config: RunConfig, log: Log) -> Iterator[TakeoverDevice | None]:
    """Open the device of a run, where there shall be one."""
    if not config.teleop:
        yield None
        return
    device = TakeoverDevice(config, log)
    try:
        yield device
    finally:
        device.close()
