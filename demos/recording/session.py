"""Session: a sitting in which a person drives a robot, and says when an episode begins and how it ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from ...envs import Actor, DataError, Outcome, Robot, Step, incompatibilities
from ...envs.clock import ticks
from ...envs.teleop.drive import Device
from ..store import DemoStore
from .recorder import Recorder

WINDOW, OFF, AGAIN = (
    2.0,
    0.1,
    5.0,
)  # s that a cadence is judged over, share it may be off, s until it is told again
WORDS = {"success": True, "failure": False}


class Session:
    """Ticks on from one episode to the next, whoever acts; an episode is on disk before the next can begin.

    words: a device that only says what was pressed, where the actor has none of its own; tell: hears what happens.
    seed: gives that of the next start, for robots that draw it; show: called every tick, for who looks on.
    """

    def __init__(
        self, robot: Robot, actor: Actor, store: DemoStore, tell: Callable[[str], None],
        words: Device | None = None, seed: Callable[[], int | None] = lambda: None,
        show: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        if wrong := incompatibilities(store.spec, robot.spec):
            raise DataError(f"the robot does not fit {store.path}: {'; '.join(wrong)}")
        self._robot, self._actor, self._store, self._tell = robot, actor, store, tell
        self._words, self._seed, self._show = words, seed, show
        self._recorder, self._cadence = Recorder(store), Cadence(store.spec.command_hz)
        self._pressed: list[str] = []
        self.recording, self.kept = False, 0

    def hear(self, word: str) -> None:
        """A word, as the actor's device said it."""
        self._pressed.append(word)

    def run(self, episodes: int) -> int:
        """Until so many episodes are kept, or the person quits; returns how many."""
        self._reset()
        for lateness in ticks(self._robot.clock, self._robot.spec.command_hz):
            obs = self._robot.observe()
            command = self._actor.act(obs)
            if command is None:
                continue
            sent = self._robot.command(command)
            self._actor.sent(sent)
            if self.recording:
                self._recorder.step(Step(obs, command, sent, lateness))
                if text := self._cadence.off(obs.time):
                    self._tell(text)
                if (outcome := self._robot.outcome()) is not None:
                    self._end(outcome)
            elif self._robot.outcome() is not None:
                self._reset()
            self._show()
            if not self._listened() or self.kept >= episodes:
                break
        return self.kept

    def _listened(self) -> bool:
        """Do what was said; whether to go on."""
        said, self._pressed = (
            self._pressed + list(self._words.read().words if self._words else ()),
            [],
        )
        for word in said:
            word = ("success" if self.recording else "start") if word == "toggle" else word
            if word == "start" and not self.recording:
                self.recording, self._cadence = True, Cadence(self._store.spec.command_hz)
                self._tell(f"recording episode {len(self._store)}")
            elif word in WORDS and self.recording:
                self._end(Outcome(WORDS[word]))
            elif word in ("discard", "quit") and self.recording:
                self._drop()
            if word == "quit":
                return False
        return True

    def _end(self, outcome: Outcome) -> None:
        self.recording = False
        stored = self._recorder.end(outcome, self._start)
        self.kept += stored is not None
        how = {True: "success", False: "failure", None: "not judged"}[outcome.success]
        self._tell(f"kept: {how}, {len(stored or ())} frames; {len(self._store)} episodes in all")
        self._reset()

    def _drop(self) -> None:
        self.recording = False
        self._recorder.discard(self._start)
        self._tell("discarded")
        self._reset()

    def _reset(self) -> None:
        self._start = self._seed()
        self._robot.reset(self._start)
        self._actor.reset(self._start)


class Cadence:
    """Watches whether frames come as often as they should."""

    def __init__(self, hz: float) -> None:
        self._hz, self._times, self._told = hz, deque[float](), -np.inf

    def off(self, time: float) -> str:
        """What is wrong with the rhythm at this moment, "" for nothing, or where it was told a moment ago."""
        self._times.append(time)
        while time - self._times[0] > WINDOW:
            self._times.popleft()
        if time - self._times[0] < 0.8 * WINDOW or time - self._told < AGAIN:
            return ""
        steps = np.diff(self._times)
        rate, longest = 1 / steps.mean(), steps.max() * self._hz
        if abs(rate / self._hz - 1) < OFF and longest < 1 / OFF:
            return ""
        self._told = time
        return f"frames come at {rate:.1f} Hz instead of {self._hz:g}, the longest gap is {longest:.1f} periods"
