"""What a person holds: a device, or a leader arm, whose movements the control process is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from ...envs import Robot, RobotError, Spec
from ...envs.control.remote_hand import HandSender
from ...envs.errors import names
from ...envs.hardware.registry import make_live
from ...envs.robot import measured_action
from ...envs.teleop.drive import Device


class HeldDevice:
    """Reads a device and tells the control process what the hand does.

    leader: a robot in the person's hand, whose pose is told in place of the device's movement.
    """

    def __init__(self, device: Device, leader: Robot | None, spec: Spec, hand: HandSender) -> None:
        self.leads = leader is not None
        self.close = device.close
        self._device = device
        self._leader = leader
        self._spec = spec
        self._hand = hand

    def read(self, takes: bool = False) -> tuple[str, ...]:
        """Tell what the hand does now, and return the events since the last time.

        takes: whether the person wants the robot, where a policy has it otherwise.
        """
        hand = self._device.read()
        if self._leader is None:
            self._hand.send(hand.move, takes=takes)
            return hand.events
        try:
            pose = measured_action(self._spec, self._leader.observe())
        except Exception as error:
            raise RobotError(f"the leader gives no observation: {error}") from error
        self._hand.send(pose=pose, takes=takes)
        return hand.events


def make_leader(
    name: str, options: Mapping[str, Any], devices: Sequence[str], stack: ExitStack
) -> Robot | None:
    """Return a leader arm, which `stack` closes; None where the name is one of the devices.

    RobotError lists the devices where there is none of this name.
    """
    if name in devices:
        return None
    try:
        leader = make_live(name, options)
    except RobotError as error:
        raise RobotError(
            f"teleop={name} is no device (valid: {names(devices)}) and no leader arm: {error}"
        ) from error
    stack.callback(leader.close)
    return leader
