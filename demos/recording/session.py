"""A session in which a person drives a robot, and says when an episode begins and how it ended."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np

from ...envs import (
    Actor,
    DataError,
    Outcome,
    Robot,
    RobotError,
    Step,
    incompatibilities,
    run_episode,
)
from ...envs.clock import ticks
from ...envs.teleop.drive import Device
from ..store import DemoStore
from .recorder import Recorder

WINDOW_SECONDS = 2.0  # over which a cadence is judged
CADENCE_SHARE = 0.1  # by which it may be off
REPEAT_SECONDS = 5.0  # until it is told again
VAIN_STARTS = 10  # in a row that are over before their first tick
VERDICTS = {"success": True, "failure": False}


class Session:
    """From one start to the next on one grid of ticks: a person acts, and records episodes.

    An episode is on disk before the next can begin.

    Args:
        robot: On a clock of its own.
        actor: Who acts, as the person wants it.
        store: Where episodes are kept.
        log: Is given what happens, in words.
        buttons: A device on which events are pressed, where the actor's own has none.
        seed: Gives the seed of the next start, for robots that draw it.
        show: Called every tick, for who looks on.
    """

    def __init__(
        self,
        robot: Robot,
        actor: Actor,
        store: DemoStore,
        log: Callable[[str], None],
        buttons: Device | None = None,
        seed: Callable[[], int | None] = lambda: None,
        show: Callable[[], None] = lambda: None,
    ) -> None:
        wrong = incompatibilities(store.spec, robot.spec)
        if wrong:
            raise DataError(f"the robot does not fit {store.path}: {'; '.join(wrong)}")
        self._robot = robot
        self._actor = actor
        self._store = store
        self._log = log
        self._buttons = buttons
        self._next_seed = seed
        self._show = show
        self._recorder = Recorder(store)
        self._cadence = Cadence(store.spec.command_hz)
        self._pressed = deque[str]()
        self._start: int | None = None  # seed of the running start
        self._is_over = False  # whether it has brought what it can
        self._quits = False
        self.recording = False
        self.kept = 0

    def on_event(self, event: str) -> None:
        """Take note of what was pressed on the actor's device."""
        self._pressed.append(event)

    def run(self, episodes: int) -> int:
        """Go on until so many episodes are kept, or the person quits; return how many.

        RobotError where the robot reports an outcome at each of its starts, DataError where
        episodes could not be stored.
        """
        self._quits = False
        grid = ticks(self._robot.clock, self._robot.spec.command_hz)
        vain = 0
        with closing(self._recorder):
            while self.kept < episodes and not self._quits:
                vain = 0 if self._play(grid) else vain + 1
                if vain >= VAIN_STARTS:
                    raise RobotError("the robot's episodes are over as soon as they begin")
        return self.kept

    def _play(self, grid: Iterator[float]) -> bool:
        """Play from one start, and keep what was recorded.

        Return whether there was a tick of it.
        """
        self._start = self._recorder.free(self._next_seed())
        self._is_over = False
        stepped = False
        for step in run_episode(
            self._robot, self._actor, seed=self._start, max_seconds=math.inf, grid=grid
        ):
            if step is None:
                continue
            stepped = True
            self._take(step)
            if self._is_over:
                return True
        outcome = self._robot.outcome()
        if self.recording and outcome is not None:
            self._end(outcome)
        return stepped

    def _take(self, step: Step) -> None:
        """Record a tick, and do what was pressed on it; what follows the end of a start waits."""
        if self.recording:
            self._recorder.step(step)
            trouble = self._cadence.off(step.obs.time)
            if trouble:
                self._log(trouble)
        self._show()
        if self._buttons is not None:
            self._pressed.extend(self._buttons.read().events)
        while self._pressed and not self._is_over:
            self._obey(self._pressed.popleft())

    def _obey(self, event: str) -> None:
        if event == "toggle":
            event = "success" if self.recording else "start"
        if event == "start" and not self.recording:
            self.recording = True
            self._cadence = Cadence(self._store.spec.command_hz)
            self._log(f"recording episode {len(self._store)}")
        elif event in VERDICTS and self.recording:
            self._end(Outcome(VERDICTS[event]))
        elif event in ("discard", "quit") and self.recording:
            self._discard()
        if event == "quit":
            self._quits = self._is_over = True

    def _end(self, outcome: Outcome) -> None:
        self.recording = False
        self._is_over = True
        self.kept += self._recorder.keep(outcome, self._log, self._start) is not None

    def _discard(self) -> None:
        self.recording = False
        self._is_over = True
        self._recorder.discard(self._start)
        self._log("discarded")


class Cadence:
    """Watches whether frames come as often as they should."""

    def __init__(self, hz: float) -> None:
        self._hz = hz
        self._times = deque[float]()
        self._last_told = -math.inf

    def off(self, time: float) -> str:
        """Return what is wrong with the rhythm.

        "" for nothing, or where it was told a moment ago.
        """
        self._times.append(time)
        while time - self._times[0] > WINDOW_SECONDS:
            self._times.popleft()
        if time - self._times[0] < 0.8 * WINDOW_SECONDS or time - self._last_told < REPEAT_SECONDS:
            return ""
        steps = np.diff(self._times)
        rate = 1 / steps.mean()
        longest = steps.max() * self._hz
        if abs(rate / self._hz - 1) < CADENCE_SHARE and longest < 1 / CADENCE_SHARE:
            return ""
        self._last_told = time
        return (
            f"frames come at {rate:.1f} Hz instead of {self._hz:g}, "
            f"the longest gap is {longest:.1f} periods"
        )
