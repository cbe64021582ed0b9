"""Hostile days: everything that can be asked of a SafeRobot, at random, and what its motors are
sent meanwhile.

`python tests/hostile.py [commands]` prints the largest position, velocity and acceleration in units
of their limits.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any

import numpy as np
from fakes import FakeClock

from fewstep.envs import Command, Field, Obs, Outcome, RobotError, Spec
from fewstep.envs.safety.limits import Limits
from fewstep.envs.safety.safe_robot import SafeRobot
from fewstep.envs.safety.states import State, WatchdogConfig

LOW, HIGH = np.full(3, -1.5), np.full(3, 1.5)
VELOCITY, ACCELERATION = (
    np.array([0.01, 1.0, 10.0]),
    np.array([0.02, 5.0, 200.0]),
)  # a slow, a usual and a fast axis
RATES = (50.0, 100.0, 250.0, 500.0, 1000.0)


def spec(hz: float) -> Spec:
    limits = {
        "low": tuple(LOW),
        "high": tuple(HIGH),
        "velocity": tuple(VELOCITY),
        "acceleration": tuple(ACCELERATION),
    }
    return Spec(
        {"joints": Field((3,), "rad")},
        {"joints": Field((3,), "rad", measured_by="joints", **limits)},
        20.0,
        hz,
    )


class Judge:
    """Hears every setpoint that a robot takes.

    One may begin anew, at rest, only where something else moved the robot.

    begin: where it may begin (3,), NaN where it may not.
    """

    def __init__(self, hz: float) -> None:
        self._hz = hz
        self._pauses = (
            max(0.015, 2.5 / hz),
            max(0.025, 3.5 / hz),
        )  # a pause between may have been one to rest or none
        self.at, self._time = np.full(3, np.nan), 0.0
        self._v = np.zeros(3), np.zeros(3)  # velocities that the last setpoint may have had
        self.begin = np.full(3, np.nan)
        self.worst, self.taken, self.begun = np.zeros(3), 0, 0  # position, velocity, acceleration

    def hear(self, x: np.ndarray, now: float) -> None:
        """Judge in favour of a setpoint that may have gone on as well as begun anew, until the next
        one tells.
        """
        shortest, longest = self._pauses
        moving = [] if now - self._time > longest else [*self._v]
        resting = [np.zeros(3)] if now - self._time > shortest else []
        goes_on = _least([self._ratios(x, self.at, before) for before in (*moving, *resting)])
        begins = self._ratios(x, self.begin, np.zeros(3))
        anew = np.isfinite(self.begin) & ~(goes_on[1:].max(0) <= begins[1:].max(0))
        self.worst = np.maximum(self.worst, np.where(anew, begins, goes_on).max(1))
        both = np.isfinite(self.begin) & (goes_on.max(0) <= 1 + 1e-6) & (begins.max(0) <= 1 + 1e-6)
        v, v_anew = (x - self.at) * self._hz, (x - self.begin) * self._hz
        self._v = np.where(anew & ~both, v_anew, v), np.where(anew | both, v_anew, v)
        self.at, self._time, self.begin = x, now, np.full(3, np.nan)
        self.taken, self.begun = self.taken + 1, self.begun + bool(anew.any())

    def _ratios(self, x: np.ndarray, at: np.ndarray, v_before: np.ndarray) -> np.ndarray:
        """In units of the limits (3, 3).

        From outside its positions a setpoint may go no farther out.
        """
        v = (x - at) * self._hz
        farther = np.maximum(np.maximum(x - np.fmax(HIGH, at), np.fmin(LOW, at) - x), 0.0)
        return np.stack(
            [
                1 + farther / HIGH,
                np.abs(v) / VELOCITY,
                np.abs(v - v_before) * self._hz / ACCELERATION,
            ]
        )


def _least(candidates: list[np.ndarray]) -> np.ndarray:
    """Of ratios (3, 3), per joint those of the candidate whose acceleration is least."""
    best = candidates[0]
    for other in candidates[1:]:
        best = np.where(other[2] < best[2], other, best)
    return best


class Puppet:
    """A robot without inertia that tells, does and refuses what it is told to."""

    def __init__(self, hz: float, rng: np.random.Generator) -> None:
        self.spec, self.clock, self._rng = spec(hz), FakeClock(), rng
        self.at, self.judge = rng.uniform(-1, 1, 3), Judge(hz)
        self.offset, self.deaf, self.blind, self.old = np.zeros(3), False, False, 0.0
        self.reset_moves, self.reset_raises = True, False

    def reset(self, seed: int | None = None) -> None:
        if self.reset_moves:
            self.at = self._rng.uniform(-1, 1, 3)
            self.judge.begin = self.at + self.offset
        if self.reset_raises:
            raise OSError("homing switch")

    def observe(self) -> Obs:
        if self.blind:
            raise OSError("cable")
        now, shown = self.clock.now(), self.at + self.offset
        return Obs(now, {"joints": shown}, {"joints": now - self.old})

    def command(self, command: Command) -> np.ndarray:
        if self.deaf:
            raise OSError("bus")
        if command.action is not None:
            assert command.action.dtype == np.float64
            self.judge.hear(command.action.copy(), self.clock.now())
            self.at = command.action.copy()
        return self.at.copy()

    def outcome(self) -> Outcome | None:
        return None

    def close(self) -> None:
        pass


class Day:
    """One robot, and who drives it."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.hz = float(self.rng.choice(RATES))
        self.puppet = Puppet(self.hz, self.rng)
        watchdog = WatchdogConfig(
            observation_seconds=0.2,
            action_seconds=0.3,
            ramp_seconds=float(self.rng.choice([0.0, 0.5])),
        )
        self.safe = SafeRobot(self.puppet, Limits.of(self.puppet.spec), watchdog)
        self.safe.reset(0)
        self._reach = self.safe.limits.max_following_error
        self._wanted, self._step = self.puppet.at.copy(), np.zeros(3)

    def tick(self) -> None:
        """One tick, and before it perhaps something else."""
        if self.rng.random() < 0.03:
            self._happen()
        self.puppet.clock.wait_until(self.puppet.clock.now() + 1 / self.hz)
        with suppress(RobotError):
            self.safe.observe()
            self.safe.command(Command(self._command(), "policy"))

    def _command(self) -> Any:
        kind = self.rng.integers(12)
        if kind == 0:
            return None
        if kind == 1:
            return np.full(3, self.rng.choice([np.nan, np.inf, -np.inf]))
        if kind == 2:
            return self.rng.normal(size=self.rng.integers(5)) * 10.0 ** self.rng.integers(-3, 300)
        if kind == 3:
            return self.rng.choice([-1.0, 1.0], 3) * 1e30
        if kind == 4:
            self._wanted = self.rng.uniform(-2, 2, 3)
        if kind == 5:
            self._step = self.rng.normal(size=3) * VELOCITY / self.hz
        self._wanted = np.clip(self._wanted + self._step, -2, 2)
        return self._wanted.copy()

    def _happen(self) -> None:
        p, rng = self.puppet, self.rng
        what = rng.integers(10)
        if what == 0:
            p.offset = rng.choice([0.0, 0.003, 0.5, 1.0, 1e6]) * rng.choice([-1.0, 0.0, 1.0], 3)
        elif what == 1:
            p.deaf = not p.deaf
        elif what == 2:
            p.blind = not p.blind
        elif what == 3:
            p.old = rng.choice([0.0, 0.1, 0.5])
        elif what == 4:
            p.clock.time += rng.choice([0.005, 0.05, 1.0])
        elif what == 5:
            p.reset_moves, p.reset_raises = bool(rng.integers(2)), rng.random() < 0.2
            with suppress(RobotError):
                self.safe.reset(1)
        elif what == 6 and self.safe.state in (State.DISARMED, State.SHADOW):
            p.at = rng.uniform(-1.5, 1.5, 3)
        else:
            if what == 9:
                p.offset, p.deaf, p.blind, p.old = np.zeros(3), False, False, 0.0
            self._go(State.HOLD if what < 9 else State(str(rng.choice(list(State)))))
            self._go(State.ACTIVE)

    def _go(self, state: State) -> None:
        p, before = self.puppet, self.safe.state
        setpoint = self.safe._limiter
        lost = (
            not (setpoint.located and self.safe._taken)
            or (np.abs(p.at + p.offset - setpoint.at) > self._reach).any()
        )
        with suppress(RobotError):
            self.safe.go(state)
            if state is State.HOLD and before is not State.ACTIVE and lost:
                p.judge.begin = p.at + p.offset


def days(commands: int, seed: int = 0) -> tuple[np.ndarray, int, int]:
    """Return the worst ratios over so many ticks, setpoints taken, and how often they began anew."""
    worst, taken, begun = np.zeros(3), 0, 0
    for k in range(max(1, commands // 1000)):
        day = Day(seed + k)
        for _ in range(1000):
            day.tick()
        judge = day.puppet.judge
        worst, taken, begun = (
            np.maximum(worst, judge.worst),
            taken + judge.taken,
            begun + judge.begun,
        )
    return worst, taken, begun


if __name__ == "__main__":
    began = time.process_time()
    count = int([*sys.argv[1:], 1_000_000][0])
    largest, sent, anew = days(count)
    figures = ", ".join(
        f"{name} {x:.9f}"
        for name, x in zip(("position", "velocity", "acceleration"), largest, strict=True)
    )
    print(
        f"{count} ticks, {sent} setpoints taken, {anew} beginnings: {figures}; {time.process_time() - began:.0f} CPU s"
    )
