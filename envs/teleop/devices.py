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
KEYS = {  # key: axis, direction
    **{"w": ("x", 1), "s": ("x", -1), "a": ("y", 1), "d": ("y", -1), "r": ("z", 1), "f": ("z", -1)},
    **{
        "u": ("roll", 1),
        "o": ("roll", -1),
        "i": ("pitch", 1),
        "k": ("pitch", -1),
        "j": ("yaw", 1),
        "l": ("yaw", -1),
    },
    **{"e": ("gripper", 1), "q": ("gripper", -1)},
}
WORDS = {
    "\n": "start",
    " ": "success",
    "x": "failure",
    "\x7f": "discard",
    "\x03": "quit",
    "\x04": "quit",
}
PRESSED = (
    0.12  # s that a key counts as held down: a terminal tells presses and repeats, never releases
)
DEAD = 0.08  # of a stick's way that counts as none
SPACEMICE = {(0x256F, None), (0x046D, 0xC626), (0x046D, 0xC627), (0x046D, 0xC628), (0x046D, 0xC62B)}
FULL = 350.0  # what a SpaceMouse tells at full deflection


class Keyboard:
    """The terminal's keyboard: w a s d r f move, u i o j k l turn, e q the gripper.

    Enter starts, space is a success, x a failure, backspace discards, Ctrl-C quits.
    """

    def __init__(self, fd: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._fd = sys.stdin.fileno() if fd is None else fd
        self._clock, self._held, self._before = clock, dict[str, float](), None
        if os.isatty(self._fd):
            import termios
            import tty

            self._before = termios.tcgetattr(self._fd)
            tty.setraw(self._fd, termios.TCSANOW)

    def read(self) -> Hand:
        """Keys since the last time, and those that still count as held."""
        now, words = self._clock(), []
        while select.select([self._fd], [], [], 0)[0] and (typed := os.read(self._fd, 1024)):
            for key in typed.decode(errors="ignore").replace("\r", "\n"):
                words += [WORDS[key]] if key in WORDS else []
                self._held[key.lower()] = now
        move = NOTHING.copy()
        for key, when in self._held.items():
            if key in KEYS and now - when < PRESSED:
                axis, direction = KEYS[key]
                move[AXES.index(axis)] += direction
        return Hand(np.clip(move, -1, 1), tuple(words))

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._before is not None:
            import termios

            termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
            self._before = None


class Gamepad:
    """A gamepad with SDL's usual layout, through pygame: sticks move, shoulders turn, triggers grip.

    Start starts, A is a success, B a failure, X discards, back quits.
    """

    BUTTONS: Mapping[int, str] = {7: "start", 0: "success", 1: "failure", 2: "discard", 6: "quit"}

    def __init__(self, stick: Any = None) -> None:
        self._stick, self._down = stick or _first_gamepad(), set[int]()

    def read(self) -> Hand:
        """Sticks and buttons now."""
        with suppress(ImportError):
            import pygame

            if pygame.display.get_init():
                pygame.event.pump()
        axis, button = self._stick.get_axis, self._stick.get_button
        x, y, turn, z = (_live(axis(i)) for i in (1, 0, 3, 4))
        close, opens = ((axis(i) + 1) / 2 if self._stick.get_numaxes() > i else 0.0 for i in (5, 2))
        roll = float(button(5)) - float(button(4))
        down = {i for i in self.BUTTONS if button(i)}
        words = tuple(self.BUTTONS[i] for i in sorted(down - self._down))
        self._down = down
        return Hand(np.clip([-x, -y, -z, roll, 0.0, -turn, opens - close], -1, 1), words)

    def close(self) -> None:
        """Let SDL go."""
        with suppress(ImportError):
            import pygame

            pygame.quit()


class SpaceMouse:
    """A 3Dconnexion SpaceMouse, through hidapi: six axes; the left button closes, the right one opens.

    Both together start an episode, or end it as a success; all else is the keyboard's.
    """

    def __init__(self, device: Any = None, keyboard: Device | None = None) -> None:
        self._device, self._keyboard = device or _first_spacemouse(), keyboard or Keyboard()
        self._move, self._buttons, self._both = NOTHING.copy(), 0, False

    def read(self) -> Hand:
        """Axes and buttons as last told; words from the keyboard."""
        while report := self._device.read(13):
            self._hear(bytes(report))
        both = self._buttons == 3
        words = ("toggle",) if both and not self._both else ()
        self._both = both
        self._move[6] = 0 if both else {1: -1.0, 2: 1.0}.get(self._buttons, 0.0)
        return Hand(np.clip(self._move, -1, 1), (*words, *self._keyboard.read().words))

    def _hear(self, report: bytes) -> None:
        numbers = np.frombuffer(report[1 : 1 + (len(report) - 1) // 2 * 2], "<i2") / FULL
        if report[0] == 1 and len(numbers) >= 3:
            x, y, z = numbers[:3]
            self._move[:3] = [
                -y,
                -x,
                -z,
            ]  # the device's x points right, its y towards the person, its z down
        if report[0] == 2 or (report[0] == 1 and len(numbers) >= 6):
            roll, pitch, yaw = numbers[-3:]
            self._move[3:6] = [-pitch, -roll, -yaw]
        if report[0] == 3:
            self._buttons = report[1] & 3

    def close(self) -> None:
        """Close the device and give the terminal back."""
        self._device.close()
        self._keyboard.close()


DEVICES: Mapping[str, Callable[[], Device]] = {
    "keyboard": Keyboard,
    "gamepad": Gamepad,
    "spacemouse": SpaceMouse,
}


def _live(x: float) -> float:
    return 0.0 if abs(x) < DEAD else (abs(x) - DEAD) / (1 - DEAD) * (1 if x > 0 else -1)


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
    for found in hid.enumerate():
        ids = (found["vendor_id"], found["product_id"])
        if ids in SPACEMICE or (ids[0], None) in SPACEMICE:
            device = hid.device()
            device.open_path(found["path"])
            device.set_nonblocking(True)
            return device
    raise RobotError(
        f"no SpaceMouse is connected; devices here: {names(f['product_string'] for f in hid.enumerate())}"
    )
