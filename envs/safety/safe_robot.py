"""SafeRobot: limits, watchdogs and states around any robot. It is no certified safety function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..clock import Clock, ticks
from ..errors import RobotError, names
from ..robot import Command, Obs, Outcome, Robot, measured_action, whole
from .checks import age_of, is_usable, require_outcome, require_sent
from .clock_check import ClockCheck
from .limiter import Limiter
from .limits import Limits
from .notices import Notices
from .plausibility import STILL_SECONDS, Plausibility
from .shadow import Shadow
from .states import NEXT, SILENT, State, WatchdogConfig, rest_after

BRAKE_SECONDS = 10.0  # given to the setpoint to come to rest
SETTLE_SECONDS = 3.0  # given to the robot to stand still after its reset
# A reset that moves the robot no farther has not moved it [s of travel at full velocity].
SAME_PLACE = 0.02
HOLD = Command(None, "operator")


class SafeRobot:
    """A Robot that passes on what keeps its limits.

    It brakes where there is nothing to pass on, and latches faults. While anything is sent, the
    setpoint is continuous in position and velocity, whatever changes: states, episodes, actors.
    Only a robot that something else has moved is met where it stands: by its own reset, or by hand
    while nothing was sent to it or while it could not follow.

    Args:
        on_event: Is given every change of state and every trouble, in words, of each kind at most
            once a second.
        waiting: The clock to wait on, by default the robot's own, which it then cannot check.
    """

    def __init__(
        self,
        robot: Robot,
        limits: Limits,
        watchdog: WatchdogConfig | None = None,
        on_event: Callable[[str], None] = lambda text: None,
        waiting: Clock | None = None,
    ) -> None:
        self.robot = robot
        self.spec = robot.spec
        self.clock = robot.clock
        self.limits = limits
        self.watchdog = watchdog or WatchdogConfig()
        self.state = State.DISARMED
        self.why = ""  # it is in this state
        self.pace = 1.0  # share of full velocity that a motion may have
        self._limiter = Limiter(robot.spec, limits)
        self._shadow = Shadow(robot.spec, limits)
        # What limits have left of the last command (A,), in a shadow what they would have.
        self.limited = np.full(robot.spec.action_size, np.nan)
        self._plausible = Plausibility(robot.spec, limits)
        self._on_event = on_event
        self._notices = Notices(on_event)
        self._obs: Obs | None = None
        self._measured = np.full(robot.spec.action_size, np.nan)
        self._taken = False  # whether the robot has taken the last setpoint
        self._trouble = ""  # why the newest observation cannot be
        now = self.clock.now()
        self._since = now  # when this state, or this start, began
        self._fresh = now  # when there was a usable action
        self.sent_at = now  # when the last command went out that the robot took
        self.waiting = waiting or self.clock
        self._clock_check = ClockCheck(self.clock, self.waiting)

    def go(self, state: State) -> None:
        """Change the state; RobotError where no way leads there, or no motion may begin."""
        state = State(state)
        if state not in NEXT[self.state]:
            raise RobotError(
                f"no way from {self.state} to {state}; valid: {names(NEXT[self.state])}"
            )
        if state in SILENT and self.state not in SILENT and not self.resting:
            raise RobotError(
                f"no way from {self.state} to {state} before the robot has come to rest"
            )
        if state is State.HOLD and self.state is not State.ACTIVE:
            self._arm()
        if state in SILENT:
            self._limiter.lift()
        self._enter(state, "asked to")

    def _arm(self) -> None:
        """Begin where the robot is, or go on where it has followed its setpoint all the time."""
        obs = self._observed_now()
        age = age_of(self.spec, obs, self.clock.now())
        if age > self.watchdog.observation_seconds:
            raise RobotError(f"the observation is {age:.2f} s old: nobody knows where the robot is")
        if self._trouble:
            raise RobotError(f"what is measured cannot be: {self._trouble}")
        if not self._plausible.still:
            raise RobotError("the robot moves: it can be armed where it stands still only")
        followed = np.isfinite(self.limits.max_following_error) & self._taken
        self._limiter.start(
            self._measured, np.where(followed, self.limits.max_following_error, -1.0)
        )

    def _observed_now(self) -> Obs:
        """Observe; RobotError where the robot gives no new observation, whatever it gave before."""
        before = self._obs
        self._obs = None
        try:
            return self.observe()
        finally:
            self._obs = self._obs or before

    def fault(self, why: str) -> None:
        """Brake, and hold until `go(HOLD)`; where nothing is sent there is nothing to latch."""
        if self.state in (State.HOLD, State.ACTIVE):
            self._enter(State.FAULT, why)

    def reset(self, seed: int | None = None) -> None:
        """Come to rest, let the robot reset itself, and begin again where it stands then.

        What fails is a fault. Where nothing may be sent the robot is left as it is: resetting it
        would move it. RobotError where it stands outside its limits there, or gives no observation.
        """
        if self.state in SILENT:
            self._observed_now()
            self._limiter.start(self._measured)  # says whether it could begin here
            self._limiter.lift()
            self._shadow.begin()
        elif self._came_to_rest() and self._was_reset(seed):
            self._begin_again()
        self._since = self._fresh = self.clock.now()

    def _came_to_rest(self) -> bool:
        """Brake within the limits, on the ticks that follow; return whether no fault came of it."""
        following = self.waiting.now() + self.sent_at + 1 / self.spec.command_hz - self.clock.now()
        if self.resting:
            return self.state is not State.FAULT
        for _ in ticks(self.waiting, self.spec.command_hz, BRAKE_SECONDS, following):
            self.observe()
            self._fresh = self.clock.now()
            self.command(HOLD)
            if self.resting:
                break
        return self.state is not State.FAULT

    def _was_reset(self, seed: int | None) -> bool:
        try:
            self.robot.reset(seed)
        except Exception as error:
            self._limiter.lift()
            self.fault(f"the robot could not be reset: {error}")
        return self.state is not State.FAULT

    def _begin_again(self) -> None:
        """Wait until the robot stands still; the setpoint begins where its reset has moved it."""
        before = self._measured
        self._obs = None
        self._plausible.forget()
        self._clock_check.forget()
        try:
            self._settle()
            same = np.abs(self._measured - before) <= SAME_PLACE * self.limits.velocity
            same &= np.isfinite(self.limits.velocity)
            self._limiter.start(self._measured, np.where(same, np.inf, -1.0))
        except RobotError as error:
            self._limiter.lift()
            self.fault(f"after the reset: {error}")

    def _settle(self) -> None:
        for _ in ticks(self.waiting, self.spec.command_hz, SETTLE_SECONDS):
            self.observe()
            self._send(None, HOLD.source, self.clock.now())
            if self._plausible.settled or self.state is State.FAULT:
                return
        raise RobotError(f"the robot does not stand still for {STILL_SECONDS:g} s")

    def observe(self) -> Obs:
        """Return the latest observation, or the last one, whose age tells, where there is none."""
        try:
            observed = self.robot.observe()
            latest = self.clock.now() + self.watchdog.observation_seconds  # it may have hung
            obs = whole(self.spec, observed, latest)
        except Exception as error:
            if self._obs is None:
                raise RobotError(f"the robot gives no observation: {error}") from error
            self._notices.say("observation", f"no observation: {error}")
            return self._obs
        self._obs = obs
        self._measured = measured_action(self.spec, obs)
        self._trouble = self._plausible.look(obs, self._measured)
        return obs

    def command(self, command: Command) -> np.ndarray:
        """Send what limits and state leave of a command, and return that (A,).

        Where nothing is sent, return what is measured; `limited` says what a shadow would send.
        """
        obs = self._obs or self.observe()
        now = self.clock.now()
        wanted = self._checked(command.action)
        self._look(obs, now, wanted)
        pace = min(self.pace, self.watchdog.pace(now - self._since))
        if self.state is State.SHADOW:
            self.limited = self._shadow.next(wanted, self._measured, pace)
        if self.state in SILENT:
            return np.nan_to_num(self._measured)
        silent = now - self.sent_at
        if self.state is State.FAULT and silent > self.watchdog.observation_seconds:
            self._limiter.lift()  # a robot that took nothing for so long may stand elsewhere
        if not self._limiter.located:
            return self._send(None, command.source, now)
        if silent > rest_after(self.spec.command_hz):
            self._limiter.stop()
        if self.state is not State.ACTIVE:
            wanted = None
        setpoint = self._limiter.next(wanted, self._measured, pace)
        self.limited = setpoint
        return self._send(setpoint if self._limiter.placed else None, command.source, now)

    def _send(self, setpoint: np.ndarray | None, source: str, now: float) -> np.ndarray:
        """Hand a setpoint to the robot, and return what it sent (A,).

        It is float64, so that no rounding exceeds a limit.
        """
        try:
            told = self.robot.command(Command(setpoint, source))
            require_sent(told, self.spec.action_size)
            self.sent_at = now
            self._taken = setpoint is not None
            return told
        except Exception as error:
            self._taken = False
            if setpoint is not None:
                self._limiter.take_back()
            self.fault(f"the robot takes no command: {error}")
            return self._limiter.at.copy()

    @property
    def resting(self) -> bool:
        """Whether the setpoint has come to rest, or the robot itself where there is no setpoint."""
        return self._limiter.resting and (self._limiter.located or self._plausible.still)

    def outcome(self) -> Outcome | None:
        """Return what the robot says; a fault ends the episode, unjudged.

        Where nothing is sent nothing comes of it.
        """
        if self.state in SILENT:
            return None
        try:
            outcome = None if self.state is State.FAULT else self.robot.outcome()
            require_outcome(outcome)
        except Exception as error:
            self.fault(f"the robot tells no outcome: {error}")
            outcome = None
        return Outcome(None, why=f"fault: {self.why}") if self.state is State.FAULT else outcome

    def close(self) -> None:
        """Close the robot."""
        self.robot.close()

    def _look(self, obs: Obs, now: float, wanted: np.ndarray | None) -> None:
        """The watchdogs."""
        clock_trouble = self._clock_check.trouble()
        if clock_trouble:
            self.fault(clock_trouble)
        if wanted is not None or self.state is not State.ACTIVE:
            self._fresh = now
        age = age_of(self.spec, obs, now)
        if age > self.watchdog.observation_seconds:
            self.fault(f"the observation is {age:.2f} s old")
        without = now - self._fresh
        if without > self.watchdog.action_seconds:
            self.fault(f"no action for {without:.2f} s")
        trouble = self._trouble
        if not trouble and self._limiter.placed:
            trouble = self._plausible.strays(self._measured, self._limiter.at)
        if trouble:
            self.fault(trouble)

    def _checked(self, action: np.ndarray | None) -> np.ndarray | None:
        if action is None:
            return None
        action = np.asarray(action, float)
        size = self.spec.action_size
        if is_usable(action, size):
            return action
        self._notices.say("action", f"refused an action that is no {size} numbers: {action}")
        return None

    def _enter(self, state: State, why: str) -> None:
        self._on_event(f"{self.state} -> {state}: {why}")
        self._shadow.begin()
        self.state = state
        self.why = why
        self._since = self._fresh = self.clock.now()
