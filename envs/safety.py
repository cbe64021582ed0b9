"""SafeRobot: limits, watchdogs and states around any robot. It is no certified safety function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from .errors import FewstepError, RobotError, names
from .limits import Limiter, Limits
from .robot import Command, Obs, Outcome, Robot, measured, whole


class State(StrEnum):
    """What a robot may do now. Only `arm` leaves FAULT."""

    DISARMED = "disarmed"  # nothing is sent
    HOLD = "hold"  # it stays where it is
    SHADOW = "shadow"  # everything runs, nothing is sent
    ACTIVE = "active"
    FAULT = "fault"  # it has braked, and holds


NEXT = {  # to which states one can go by asking
    State.DISARMED: {State.HOLD, State.SHADOW},
    State.HOLD: {State.ACTIVE, State.SHADOW, State.DISARMED},
    State.SHADOW: {State.HOLD, State.DISARMED},
    State.ACTIVE: {State.HOLD, State.DISARMED},
    State.FAULT: {State.HOLD, State.DISARMED},
}


SILENT = (State.DISARMED, State.SHADOW)  # nothing is sent


@dataclass(frozen=True)
class Watch:
    """What becomes a fault, in seconds: observations that are older, no action for longer while ACTIVE."""

    observation: float = 0.25
    action: float = 1.0
    soft: float = 1.0  # over which full speed is reached after HOLD


class SafeRobot:
    """A Robot that passes on what keeps its limits, brakes where there is nothing to pass on, and latches faults.

    hear: told of every change of state and every refusal, once, in words.
    """

    def __init__(
        self, robot: Robot, limits: Limits, watch: Watch | None = None, hear: Callable[[str], None] = lambda text: None
    ) -> None:
        self.robot, self.spec, self.clock = robot, robot.spec, robot.clock
        self.watch, self.state, self.why = watch or Watch(), State.DISARMED, ""
        self._limiter, self._hear, self._told = Limiter(robot.spec, limits), hear, ""
        self._obs: Obs | None = None

    def go(self, state: State) -> None:
        """Change the state on purpose; RobotError where there is no way, or the pose is no place to start."""
        if state not in NEXT[self.state]:
            raise RobotError(f"no way from {self.state} to {state}; valid: {names(NEXT[self.state])}")
        if self.state in (*SILENT, State.FAULT) and state is State.HOLD:
            obs = self.observe()
            if (age := self._age(obs, self.clock.now())) > self.watch.observation:
                raise RobotError(f"the observation is {age:.2f} s old: nobody knows where the robot is")
            self._limiter.start(measured(self.spec, obs))
        self._enter(state, "asked to")

    def fault(self, why: str) -> None:
        """Brake, hold, and stay so until `go(HOLD)`; a robot to which nothing is sent has nothing to latch."""
        if self.state in (State.HOLD, State.ACTIVE):
            self._enter(State.FAULT, why)

    def reset(self, seed: int | None = None) -> None:
        """Reset the robot; where it was active it begins again, slowly, from where it is now.

        Where nothing may be sent the robot is left as it is: resetting it would move it.
        """
        if self.state not in SILENT:
            try:
                self.robot.reset(seed)
            except FewstepError:
                raise
            except Exception as error:
                raise RobotError(f"the robot could not be reset: {error}") from error
        self._obs = None
        self._limiter.start(measured(self.spec, self.observe()))
        self._since = self._fresh = self.clock.now()

    def observe(self) -> Obs:
        """The latest observation, or the last one where the robot fails to give any: its age then tells."""
        try:
            self._obs = whole(self.spec, self.robot.observe(), self.clock.now() + self.watch.observation)
        except Exception as error:
            if self._obs is None:
                raise RobotError(f"the robot gives no observation: {error}") from error
            self._say(f"no observation: {error}")
        return self._obs

    def command(self, command: Command) -> np.ndarray:
        """Send what limits and state leave of a command, and return it; measured values where nothing is sent."""
        obs, now = self._obs or self.observe(), self.clock.now()
        at = measured(self.spec, obs)
        wanted = self._checked(command.action)
        self._look(obs, now, wanted)
        if self.state in SILENT:
            return np.nan_to_num(at).astype(np.float32)
        pace = min(1.0, (now - self._since) / self.watch.soft) if self.watch.soft else 1.0
        sent = self._limiter.next(wanted if self.state is State.ACTIVE else None, at, pace)
        try:
            setpoint = sent.astype(np.float32) if self._limiter.placed else None
            told = self.robot.command(Command(setpoint, command.source))
            if np.shape(told) != sent.shape:
                raise RobotError(f"command() returned {told!r}, not the {len(sent)} numbers that it sent")
            return told
        except Exception as error:
            self.fault(f"the robot takes no command: {error}")
            return sent.astype(np.float32)

    @property
    def resting(self) -> bool:
        """Whether the setpoint has come to rest."""
        return self._limiter.resting

    def outcome(self) -> Outcome | None:
        """What the robot says; a fault ends the episode, unjudged. Where nothing is sent nothing comes of it."""
        if self.state in SILENT:
            return None
        try:
            outcome = None if self.state is State.FAULT else self.robot.outcome()
            if not isinstance(outcome, Outcome | None):
                raise RobotError(f"outcome() returned {outcome!r}, no Outcome")
        except Exception as error:
            self.fault(f"the robot tells no outcome: {error}")
            outcome = None
        return Outcome(None, why=f"fault: {self.why}") if self.state is State.FAULT else outcome

    def close(self) -> None:
        """Close the robot."""
        self.robot.close()

    def _look(self, obs: Obs, now: float, wanted: np.ndarray | None) -> None:
        """The watchdogs."""
        self._fresh = now if wanted is not None or self.state is not State.ACTIVE else self._fresh
        if (age := self._age(obs, now)) > self.watch.observation:
            self.fault(f"the observation is {age:.2f} s old")
        if (age := now - self._fresh) > self.watch.action:
            self.fault(f"no action for {age:.2f} s")

    def _age(self, obs: Obs, now: float) -> float:
        """Of the oldest stream [s]."""
        return now - min(obs.time, *(obs.stamps.get(k, obs.time) for k in self.spec.observations), now)

    def _checked(self, action: np.ndarray | None) -> np.ndarray | None:
        if action is None:
            return None
        action = np.asarray(action, float)
        if action.shape != (self.spec.action_size,) or not np.isfinite(action).all():
            self._say(f"refused an action that is no {self.spec.action_size} numbers: {action}")
            return None
        return action

    def _enter(self, state: State, why: str) -> None:
        self._hear(f"{self.state} -> {state}: {why}")
        self.state, self.why = state, why
        self._since = self._fresh = self.clock.now()

    def _say(self, text: str) -> None:
        if text != self._told:
            self._hear(text)
        self._told = text
