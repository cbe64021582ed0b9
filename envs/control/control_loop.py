"""The control process: owns the clock, the robot and its safety.

It imports no torch, and waits for nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..clock import ticks
from ..errors import FewstepError, RobotError
from ..loop import Actor, run_episode
from ..robot import Outcome, Step, measured_action
from ..safety.safe_robot import BRAKE_SECONDS, HOLD, SafeRobot
from ..safety.states import SILENT, State
from .wire import Events, Orders, Wire

STATES = tuple(State)
NOT_BEGUN = "not begun"  # why an episode has ended whose state was refused
PAUSE_SECONDS = 0.1  # without a command, after which a longer pause is an event


def tick_type(actions: int, observations: int) -> np.dtype:
    """Return the record of one tick.

    Times are those of the robot's clock [s]; actions (A,) are in robot units.
    """
    return np.dtype(
        [
            ("time", "f8"),
            ("lateness", "f8"),  # [s]
            ("episode", "i4"),
            ("state", "u1"),  # index of STATES
            ("age", "f8"),  # [s] of the oldest stream
            ("inference", "f8"),  # [s] that the last chunk took to make
            ("ages", "f4", (observations,)),  # [s] of each stream, in the order of the Spec
            ("measured", "f4", (actions,)),
            ("wanted", "f4", (actions,)),
            ("sent", "f8", (actions,)),
        ]
    )


def never(now: float) -> bool:
    """Say that an actor goes on for as long as it is let."""
    return False


class Timed(Protocol):
    """Whoever knows how long the last chunk took to make."""

    seconds: float


class Listener(Protocol):
    """Whoever takes note of the steps of an episode."""

    def step(self, episode: int, step: Step) -> None:
        """Take note of one; at once."""
        ...


class Control:
    """Ticks on, whoever asks for what, on one grid: holds between episodes, acts in them.

    Orders: `arm` (or leave a fault), `hold` what is active, `disarm`, `play SEED SECONDS STATE`,
    `stop`.

    Args:
        safe: The robot.
        actor: Who acts in episodes.
        orders: What is asked for.
        events: Where to write what happens.
        log: Where to write a record of every tick.
        inference: Whoever knows how long a chunk took to make.
        listener: Is given the steps of episodes.
        is_over: Says at a time [s] whether the actor has nothing left to do, which ends its
        episode.
    """

    def __init__(
        self,
        safe: SafeRobot,
        actor: Actor,
        orders: Orders,
        events: Events,
        log: Wire,
        inference: Timed | None = None,
        listener: Listener | None = None,
        is_over: Callable[[float], bool] = never,
    ) -> None:
        self.safe = safe
        self._actor = actor
        self._orders = orders
        self._events = events
        self._log = log
        self._inference = inference
        self._listener = listener
        self._is_over = is_over
        spec = safe.spec
        self._record = np.zeros((), tick_type(spec.action_size, len(spec.observations)))
        self._episode = -1
        self.stopping = False
        self._last_tick = math.inf  # time of it [s]
        self._play_next: list[str] = []
        self._grid = ticks(safe.waiting, spec.command_hz)

    def run(self) -> None:
        """Go on until told to stop, nobody is left to tell, or anything fails.

        Then brake, and let go of the robot.
        """
        try:
            while not self.stopping:
                self._hold_until_asked()
                if self._play_next:
                    seed, seconds, state = self._play_next
                    self._play_next = []
                    self._play(None if seed == "-" else int(seed), float(seconds), State(state))
        finally:
            try:
                self._brake()
            finally:
                self._let_go()

    def _hold_until_asked(self) -> None:
        for lateness in self._grid:
            self._hold(lateness)
            self._obey()
            if self.stopping or self._play_next:
                return

    def _hold(self, lateness: float) -> None:
        obs = self.safe.observe()
        self._keep(Step(obs, HOLD, self.safe.command(HOLD), lateness))

    def _play(self, seed: int | None, seconds: float, state: State) -> None:
        self._episode += 1
        self._last_tick = math.inf
        self._events.write("begins", episode=self._episode, seed=seed)
        self._go(state)
        if self.safe.state is not state:
            self._events.write("ended", episode=self._episode, why=NOT_BEGUN)
            return
        outcome = self._acted(seed, seconds, state)
        self._events.write(
            "ended", episode=self._episode, **_plain(outcome or Outcome(None, why="over"))
        )

    def _acted(self, seed: int | None, seconds: float, state: State) -> Outcome | None:
        """Play an episode; on the tick that ends it the robot is held already."""
        for step in run_episode(
            self.safe, self._actor, seed=seed, max_seconds=seconds, grid=self._grid
        ):
            if step is not None:
                self._keep(step)
                if self._listener:
                    self._listener.step(self._episode, step)
            self._obey()
            is_over = step is not None and self._is_over(step.obs.time)
            if is_over or self.stopping or self.safe.state is not state:
                return self._ended()
        outcome = self._ended()
        self._hold(0.0)
        return outcome

    def _ended(self) -> Outcome | None:
        outcome = self.safe.outcome()
        if self.safe.state is State.ACTIVE:
            self.safe.go(State.HOLD)
        return outcome

    def _obey(self) -> None:
        """Do what is ordered; an episode is begun by the loop."""
        for line in self._orders.take():
            word, *rest = line.split()
            self.stopping |= word == "stop"
            if word == "play":
                self._play_next = rest
            if word == "arm" and self.safe.state is not State.HOLD:
                self._go(State.HOLD)
            if word == "hold" and self.safe.state is State.ACTIVE:
                self._go(State.HOLD)
            if word == "disarm" and self.safe.state is not State.DISARMED:
                self._go(State.DISARMED)

    def _go(self, state: State) -> None:
        try:
            self.safe.go(state)
        except FewstepError as error:
            self._events.write("refused", text=str(error))

    def _keep(self, step: Step) -> None:
        """Write a record of a tick, and say where there was none for too long."""
        record = self._record
        obs = step.obs
        ages = [obs.time - obs.stamps.get(key, obs.time) for key in self.safe.spec.observations]
        record["time"] = obs.time
        record["lateness"] = step.lateness
        record["episode"] = self._episode
        record["state"] = STATES.index(self.safe.state)
        record["age"] = max(ages, default=0.0)
        record["ages"] = ages
        record["inference"] = self._inference.seconds if self._inference else 0.0
        record["measured"] = measured_action(self.safe.spec, obs)
        record["wanted"] = np.nan if step.intended.action is None else step.intended.action
        record["sent"] = step.sent
        self._log.send(record.tobytes())
        self._events.wire.flush()
        pause = obs.time - self._last_tick
        if pause > PAUSE_SECONDS:
            self._events.write("pause", spare=True, text=f"nothing was sent for {pause:.2f} s")
        self._last_tick = obs.time

    def _brake(self) -> None:
        """Come to rest within the limits."""
        if self.safe.state is State.ACTIVE:
            self.safe.go(State.HOLD)
        end = self.safe.waiting.now() + BRAKE_SECONDS
        for lateness in self._grid:
            if self.safe.state in SILENT or self.safe.waiting.now() > end:
                return
            self._hold(lateness)
            if self.safe.resting:
                return

    def _let_go(self) -> None:
        try:
            self.safe.close()
        except Exception as error:
            raise RobotError(f"the robot could not be closed: {error}") from error
        self._events.write("stopped", dropped=self._log.dropped + self._events.wire.dropped)


def _plain(outcome: Outcome) -> dict[str, Any]:
    """Return values for JSON, whatever kind of number a robot has used."""
    success = None if outcome.success is None else bool(outcome.success)
    score = float(outcome.score) if math.isfinite(outcome.score) else None
    return {"success": success, "score": score, "why": str(outcome.why)}
