"""The loop of the control process: owns the clock, the robot and its safety.

It imports no torch, and waits for nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..cameras.camera_config import with_cameras
from ..cameras.watch import CameraWatch
from ..clock import ticks
from ..errors import FewstepError, RobotError
from ..loop import Actor, run_episode
from ..robot import Obs, Outcome, Step, measured_action, source_number
from ..safety.safe_robot import BRAKE_SECONDS, HOLD, SafeRobot
from ..safety.states import SILENT, State
from .wire import Events, Orders, Wire

STATES = tuple(State)
ARMED_FROM = {"arm": set(State) - {State.HOLD}, "rearm": {State.FAULT}}  # by the order
NOT_BEGUN = "not begun"  # why an episode has ended whose state was refused
# Without a command for longer than both, there has been a pause, which is an event.
PAUSE_SECONDS = 0.1
PAUSE_TICKS = 2


def tick_type(action_size: int, observation_count: int) -> np.dtype:
    """Return the record of one tick.

    Times are those of the robot's clock [s]; actions (A,) are in robot units.
    """
    return np.dtype(
        [
            ("time", "f8"),
            ("sent_at", "f8"),  # when the last command went out that the robot took
            ("lateness", "f8"),  # [s]
            ("episode", "i4"),
            ("state", "u1"),  # index of STATES
            ("source", "u1"),  # index of SOURCES: who acts
            ("age", "f8"),  # [s] of the oldest stream
            ("inference", "f8"),  # [s] that the last chunk took to make
            ("ages", "f4", (observation_count,)),  # [s] of each stream, in the order of the Spec
            ("measured", "f4", (action_size,)),
            ("wanted", "f8", (action_size,)),
            ("limited", "f8", (action_size,)),  # what limits left of it, in a shadow would leave
            ("sent", "f8", (action_size,)),
        ]
    )


def is_never_over(now: float) -> bool:
    """Return False: the actor goes on for as long as it is let."""
    return False


class Timed(Protocol):
    """What knows how long the last chunk took to make."""

    seconds: float


class Listener(Protocol):
    """What takes note of the steps of an episode."""

    def step(self, episode: int, step: Step) -> None:
        """Take note of one step, at once."""
        ...


class Control:
    """Ticks on one grid from beginning to end: holds between episodes, acts in them.

    Orders: `arm` (or leave a fault), `rearm` (leave a fault, and nothing else), `hold` what is
    active, `disarm`, both with who has ended it where that is not the operator, `play SEED SECONDS
    STATE`, `pace SHARE` of full velocity until the next episode begins, `stop`.

    Args:
        safe: The robot.
        actor: Who acts in episodes.
        orders: What is asked for.
        events: Where to write what happens.
        log: Where to write a record of every tick.
        cameras: Of the robot, in processes of their own: what is wrong with one is a fault.
        inference: What knows how long a chunk took to make.
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
        cameras: CameraWatch | None = None,
        inference: Timed | None = None,
        listener: Listener | None = None,
        is_over: Callable[[float], bool] = is_never_over,
    ) -> None:
        self.safe = safe
        self.stopping = False
        self._actor = actor
        self._orders = orders
        self._events = events
        self._log = log
        self._cameras = cameras or CameraWatch((), math.inf, safe.waiting)
        self._inference = inference
        self._listener = listener
        self._is_over = is_over
        spec = with_cameras(safe.spec, self._cameras.sizes)
        self._observed = tuple(spec.observations)
        self._record = np.zeros((), tick_type(spec.action_size, len(spec.observations)))
        self._episode = -1
        self._last_time = math.inf  # of the last tick [s]
        self._play_order: list[str] = []
        self._ended_by = "the operator"
        self._grid = ticks(safe.waiting, spec.command_hz)

    def run(self) -> None:
        """Go on until told to stop, nobody is left to tell, or anything fails.

        Then brake, and let go of the robot.
        """
        try:
            while not self.stopping:
                self._hold_until_asked()
                if self._play_order:
                    self._play_as_asked()
        finally:
            try:
                self._brake_to_rest()
            finally:
                self._close_robot()

    def _hold_until_asked(self) -> None:
        for lateness in self._grid:
            self._hold_one_tick(lateness)
            self._obey_orders()
            if self.stopping or self._play_order:
                return

    def _hold_one_tick(self, lateness: float) -> None:
        obs = self.safe.observe()
        sent = self.safe.command(HOLD)
        self._record_tick(Step(obs, HOLD, sent, lateness))

    def _play_as_asked(self) -> None:
        seed, seconds, state = self._play_order
        self._play_order = []
        self._play(None if seed == "-" else int(seed), float(seconds), State(state))

    def _play(self, seed: int | None, seconds: float, state: State) -> None:
        self._episode += 1
        self._last_time = math.inf
        self.safe.pace = 1.0
        self._events.write("begins", episode=self._episode, seed=seed)
        self._change_state(state)
        if self.safe.state is not state:
            self._events.write("ended", episode=self._episode, why=NOT_BEGUN)
            return
        outcome = self._act_until_over(seed, seconds, state)
        self._events.write("ended", episode=self._episode, **_plain_outcome(outcome))

    def _act_until_over(self, seed: int | None, seconds: float, state: State) -> Outcome:
        """Play an episode; on the tick that ends it the robot is held already."""
        steps = run_episode(self.safe, self._actor, seed=seed, max_seconds=seconds, grid=self._grid)
        for step in steps:
            if step is not None:
                self._take_note(step)
            self._obey_orders()
            why = self._why_over(step, state)
            if why:
                return self._end_episode(why)
        outcome = self._end_episode("the time is over")
        self._hold_one_tick(0.0)
        return outcome

    def _why_over(self, step: Step | None, state: State) -> str:
        """Return why an episode does not go on after a step; "" where it does."""
        if self.stopping:
            return "the run was ended"
        if self.safe.state is not state:
            return f"{self._ended_by} has ended it: {self.safe.state}"
        if step is not None and self._is_over(step.obs.time):
            return "the recorded actions are over"
        return ""

    def _take_note(self, step: Step) -> None:
        self._record_tick(step)
        if self._listener:
            self._listener.step(self._episode, step)

    def _end_episode(self, why: str) -> Outcome:
        """Hold, and return what the robot says, or else why the episode has ended."""
        outcome = self.safe.outcome()
        if self.safe.state is State.ACTIVE:
            self.safe.go(State.HOLD)
        return outcome or Outcome(None, why=why)

    def _obey_orders(self) -> None:
        """Do what is ordered; an episode is begun by the loop."""
        for line in self._orders.take():
            word, *rest = line.split()
            if word == "stop":
                self.stopping = True
            if word == "play":
                self._play_order = rest
            if self.safe.state in ARMED_FROM.get(word, ()):
                self._arm()
            if word == "pace":
                self.safe.pace = float(rest[0])
            if word in ("hold", "disarm"):
                self._ended_by = " ".join(rest) or "the operator"
            if word == "hold" and self.safe.state is State.ACTIVE:
                self._change_state(State.HOLD)
            if word == "disarm" and self.safe.state is not State.DISARMED:
                self._change_state(State.DISARMED)

    def _arm(self) -> None:
        trouble = self._cameras.trouble(self.safe.clock.now())
        if trouble:
            self._events.write("refused", text=trouble)
        else:
            self._change_state(State.HOLD)

    def _change_state(self, state: State) -> None:
        try:
            self.safe.go(state)
        except FewstepError as error:
            self._events.write("refused", text=str(error))

    def _record_tick(self, step: Step) -> None:
        self._cameras.look()
        trouble = self._cameras.trouble(self.safe.clock.now())
        if trouble:
            self.safe.fault(trouble)
        self._fill_record(step)
        self._log.send(self._record.tobytes())
        self._events.wire.flush()
        time = step.obs.time
        pause = time - self._last_time
        if pause > max(PAUSE_SECONDS, PAUSE_TICKS / self.safe.spec.command_hz):
            self._events.write("pause", spare=True, text=f"nothing was sent for {pause:.2f} s")
        self._last_time = time

    def _fill_record(self, step: Step) -> None:
        obs = step.obs
        wanted = step.intended.action
        ages = self._observation_ages(obs)
        record = self._record
        record["time"] = obs.time
        record["sent_at"] = self.safe.sent_at
        record["lateness"] = step.lateness
        record["episode"] = self._episode
        record["state"] = STATES.index(self.safe.state)
        record["source"] = source_number(step.intended.source)
        record["age"] = max(ages, default=0.0)
        record["ages"] = ages
        record["inference"] = self._inference.seconds if self._inference else 0.0
        record["measured"] = measured_action(self.safe.spec, obs)
        record["limited"] = self.safe.limited
        record["sent"] = step.sent
        record["wanted"] = np.nan if wanted is None else wanted

    def _observation_ages(self, obs: Obs) -> list[float]:
        stamps = {**obs.stamps, **self._cameras.stamps()}
        return [obs.time - stamps.get(key, obs.time) for key in self._observed]

    def _brake_to_rest(self) -> None:
        """Come to rest within the limits."""
        if self.safe.state is State.ACTIVE:
            self.safe.go(State.HOLD)
        end = self.safe.waiting.now() + BRAKE_SECONDS
        for lateness in self._grid:
            if self.safe.state in SILENT or self.safe.waiting.now() > end:
                return
            self._hold_one_tick(lateness)
            if self.safe.resting:
                return

    def _close_robot(self) -> None:
        try:
            self.safe.close()
        except Exception as error:
            raise RobotError(f"the robot could not be closed: {error}") from error
        self._events.write("stopped", dropped=self._log.dropped + self._events.wire.dropped)


def _plain_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return values for JSON, whatever kind of number a robot has used."""
    success = None if outcome.success is None else bool(outcome.success)
    score = float(outcome.score) if math.isfinite(outcome.score) else None
    return {"success": success, "score": score, "why": str(outcome.why)}
