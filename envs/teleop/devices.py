"""Devices for teleoperation: the keyboard of a terminal, a gamepad, a SpaceMouse."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ..errors import RobotError, names
from .drive import NOTHING, Device, Hand

AXES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
KEYS: Mapping[str, tuple[str, int]] = {  # key: axis, direction
    "w": ("x", 1),
    "s": ("x", -1),
    "a": ("y", 1),
    "d": ("y", -1),
    "r": ("z", 1),
    "f": ("z", -1),
    "u": ("roll", 1),
    "o": ("roll", -1),
    "i": ("pitch", 1),
    "k": ("pitch", -1),
    "j": ("yaw", 1),
    "l": ("yaw", -1),
    "e": ("gripper", 1),
    "q": ("gripper", -1),
}
KEY_EVENTS: Mapping[str, str] = {
    "\n": "start",
    " ": "success",
    "x": "failure",
    "\x7f": "discard",
    "\x03": "quit",
    "\x04": "quit",
}
# A terminal tells presses and repeats, never releases: for so long a key counts as held down [s].
PRESSED = 0.12
DEAD_ZONE = 0.08  # share of a stick's way that counts as none
SPACEMICE = {(0x256F, None), (0x046D, 0xC626), (0x046D, 0xC627), (0x046D, 0xC628), (0x046D, 0xC62B)}
FULL_DEFLECTION = 350.0  # what a SpaceMouse tells then
MOTION_REPORT = 1  # of a SpaceMouse: x, y, z, of newer ones the rotations too
ROTATION_REPORT = 2
BUTTON_REPORT = 3
LEFT_BUTTON = 1
RIGHT_BUTTON = 2
BOTH_BUTTONS = 3


class Keyboard:
    """The terminal's keyboard: w a s d r f move, u i o j k l turn, e q the gripper.

    Enter starts, space is a success, x a failure, backspace discards, Ctrl-C quits.
    """

    def __init__(self, fd: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._fd = sys.stdin.fileno() if fd is None else fd
        self._clock = clock
        self._pressed_at: dict[str, float] = {}
        self._terminal_before: list[Any] | None = None
        if os.isatty(self._fd):
            import termios
            import tty

            self._terminal_before = termios.tcgetattr(self._fd)
            tty.setraw(self._fd, termios.TCSANOW)
            attributes = termios.tcgetattr(self._fd)
            attributes[1] |= termios.OPOST  # what is printed still begins its lines at the left
            termios.tcsetattr(self._fd, termios.TCSANOW, attributes)

    def read(self) -> Hand:
        """Return the keys since the last time, and those that still count as held."""
        now = self._clock()
        events: list[str] = []
        for key in self._typed():
            if key in KEY_EVENTS:
                events.append(KEY_EVENTS[key])
            self._pressed_at[key.lower()] = now
        move = NOTHING.copy()
        for key, pressed_at in self._pressed_at.items():
            if key in KEYS and now - pressed_at < PRESSED:
                axis, direction = KEYS[key]
                move[AXES.index(axis)] += direction
        return Hand(np.clip(move, -1, 1), tuple(events))

    def _typed(self) -> str:
        """Return what was typed since the last time."""
        text = ""
        while select.select([self._fd], [], [], 0)[0]:
            typed = os.read(self._fd, 1024)
            if not typed:
                break
            text += typed.decode(errors="ignore").replace("\r", "\n")
        return text

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._terminal_before is not None:
            import termios

            termios.tcsetattr(self._fd, termios.TCSANOW, self._terminal_before)
            self._terminal_before = None


class Gamepad:
    """A gamepad with SDL's usual layout, through pygame.

    Sticks move, shoulders turn, triggers grip. Start starts, A is a success, B a failure, X
    discards, back quits.
    """

    BUTTONS: Mapping[int, str] = {7: "start", 0: "success", 1: "failure", 2: "discard", 6: "quit"}

    def __init__(self, stick: Any = None) -> None:
        self._stick = stick or _first_gamepad()
        self._buttons_down: set[int] = set()

    def read(self) -> Hand:
        """Return where sticks and triggers are now, and which buttons went down."""
        with suppress(ImportError):
            import pygame

            if pygame.display.get_init():
                pygame.event.pump()
        x = self._deflection(1)
        y = self._deflection(0)
        z = self._deflection(4)
        yaw = self._deflection(3)
        roll = float(self._stick.get_button(5)) - float(self._stick.get_button(4))
        gripper = self._trigger(2) - self._trigger(5)
        move = np.clip([-x, -y, -z, roll, 0.0, -yaw, gripper], -1, 1)
        return Hand(move, self._buttons_pressed())

    def _deflection(self, axis: int) -> float:
        """Return how far a stick is out, -1 to 1, without its dead zone."""
        deflection = self._stick.get_axis(axis)
        size = abs(deflection)
        if size < DEAD_ZONE:
            return 0.0
        sign = 1 if deflection > 0 else -1
        return (size - DEAD_ZONE) / (1 - DEAD_ZONE) * sign

    def _trigger(self, axis: int) -> float:
        """Return how far a trigger is pressed, 0 to 1; 0 where the gamepad lacks it."""
        if self._stick.get_numaxes() <= axis:
            return 0.0
        return (self._stick.get_axis(axis) + 1) / 2

    def _buttons_pressed(self) -> tuple[str, ...]:
        """Return what the buttons mean that were up the last time."""
        down = {button for button in self.BUTTONS if self._stick.get_button(button)}
        pressed = sorted(down - self._buttons_down)
        self._buttons_down = down
        return tuple(self.BUTTONS[button] for button in pressed)

    def close(self) -> None:
        """Let SDL go."""
        with suppress(ImportError):
            import pygame

            pygame.quit()


class SpaceMouse:
    """A 3Dconnexion SpaceMouse, through hidapi: six axes.

    The left button closes, the right one opens. Both together start an episode, or end it as a
    success; all else is the keyboard's.
    """

    def __init__(self, device: Any = None, keyboard: Device | None = None) -> None:
        self._device = device or _first_spacemouse()
        self._keyboard = keyboard or Keyboard()
        self._move = NOTHING.copy()
        self._buttons = 0
        self._both_before = False

    def read(self) -> Hand:
        """Return the axes and buttons as last reported, and what the keyboard says."""
        self._take_reports()
        both = self._buttons == BOTH_BUTTONS
        events = self._keyboard.read().events
        if both and not self._both_before:
            events = ("toggle", *events)
        self._both_before = both
        self._move[6] = {LEFT_BUTTON: -1.0, RIGHT_BUTTON: 1.0}.get(self._buttons, 0.0)
        return Hand(np.clip(self._move, -1, 1), events)

    def _take_reports(self) -> None:
        while True:
            report = self._device.read(13)
            if not report:
                return
            self._take_report(bytes(report))

    def _take_report(self, report: bytes) -> None:
        kind = report[0]
        whole_numbers = (len(report) - 1) // 2
        numbers = np.frombuffer(report[1 : 1 + whole_numbers * 2], "<i2") / FULL_DEFLECTION
        if kind == MOTION_REPORT and len(numbers) >= 3:
            x, y, z = numbers[:3]
            # The device's x points right, its y towards the person, its z down.
            self._move[:3] = [-y, -x, -z]
        if kind == ROTATION_REPORT or (kind == MOTION_REPORT and len(numbers) >= 6):
            roll, pitch, yaw = numbers[-3:]
            self._move[3:6] = [-pitch, -roll, -yaw]
        if kind == BUTTON_REPORT:
            self._buttons = report[1] & BOTH_BUTTONS

    def close(self) -> None:
        """Close the device and give the terminal back."""
        self._device.close()
        self._keyboard.close()


DEVICES: Mapping[str, Callable[[], Device]] = {
    "keyboard": Keyboard,
    "gamepad": Gamepad,
    "spacemouse": SpaceMouse,
}


def _first_gamepad() -> Any:
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window is needed, nor a display
    try:
        import pygame
    except ImportError as error:
        raise RobotError("a gamepad needs pygame: pip install 'fewstep[teleop]'") from error
    pygame.display.init()  # for its events; sound stays off
    pygame.joystick.init()
    if not pygame.joystick.get_count():
        raise RobotError("no gamepad is connected")
    return pygame.joystick.Joystick(0)


def _first_spacemouse() -> Any:
    try:
        import hid
    except ImportError as error:
        raise RobotError("a SpaceMouse needs hidapi: pip install 'fewstep[teleop]'") from error
    connected = hid.enumerate()
    for entry in connected:
        vendor = entry["vendor_id"]
        if (vendor, entry["product_id"]) in SPACEMICE or (vendor, None) in SPACEMICE:
            device = hid.device()
            device.open_path(entry["path"])
            device.set_nonblocking(True)
            return device
    products = names(entry["product_string"] for entry in connected)
    raise RobotError(f"no SpaceMouse is connected; devices here: {products}")
