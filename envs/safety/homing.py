"""A reset that takes its time: signs of life meanwhile, and a way to break it off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from ..errors import RobotError
from ..robot import Robot

ALIVE_SECONDS = 0.1  # between two signs of life


class HomingRobot:
    """A Robot that is attended while it resets itself: everything else passes on to the robot.

    alive: called again and again, with the seconds that the reset has taken; break_off: whether it
    shall end now. Then the reset is interrupted as by Ctrl-C, in the main thread, and RobotError is
    raised.
    """

    def __init__(
        self, robot: Robot, alive: Callable[[float], None], break_off: Callable[[], bool]
    ) -> None:
        self._robot, self._alive, self._break_off = robot, alive, break_off
        self._at_work = False
        self.spec, self.clock = robot.spec, robot.clock
        self.observe, self.command = robot.observe, robot.command
        self.outcome, self.close = robot.outcome, robot.close
        signal.signal(signal.SIGUSR1, self._interrupt)

    def reset(self, seed: int | None = None) -> None:
        """Let the robot reset itself."""
        over = threading.Event()
        attendant = threading.Thread(
            target=self._attend, args=(over, threading.get_ident()), daemon=True
        )
        self._at_work = True
        try:
            attendant.start()
            self._robot.reset(seed)
        except KeyboardInterrupt:
            raise RobotError("it was broken off") from None
        finally:
            self._at_work = False
            over.set()
            attendant.join()

    def _attend(self, over: threading.Event, resetting: int) -> None:
        seconds = 0.0
        while not over.wait(ALIVE_SECONDS):
            seconds += ALIVE_SECONDS
            self._alive(seconds)
            if self._break_off():
                signal.pthread_kill(resetting, signal.SIGUSR1)

    def _interrupt(self, *_: object) -> None:
        if self._at_work:
            raise KeyboardInterrupt
