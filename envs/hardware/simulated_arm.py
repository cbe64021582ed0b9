"""A simulated arm without an environment: joints that follow targets, late as real ones do."""

from __future__ import annotations

from collections import deque

import numpy as np

from ..clock import Clock, WallClock
from ..robot import Command, Obs, Outcome
from ..spec import Field, Spec


class SimulatedArm:
    """Joints that close in on their targets with time constant `lag` [s].

    observing, acting: seconds until an observation arrives, stamped with when it was measured, and
    until a command takes effect; hz: of its commands.
    """

    def __init__(
        self,
        joints: int = 7,
        hz: float = 500.0,
        policy_hz: float = 20.0,
        observing: float = 0.0,
        acting: float = 0.0,
        lag: float = 0.02,
        clock: Clock | None = None,
    ) -> None:
        measured = Field((joints,), "rad")
        commanded = Field(
            (joints,),
            "rad",
            low=(-3.0,) * joints,
            high=(3.0,) * joints,
            measured_by="joints",
            velocity=(3.0,) * joints,
            acceleration=(30.0,) * joints,
        )
        self.spec = Spec({"joints": measured}, {"joints": commanded}, policy_hz, hz)
        self.clock = clock or WallClock()
        self._observing = observing
        self._acting = acting
        self._lag = lag
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Rest at a pose drawn by `seed`."""
        self._joints = np.random.default_rng(seed).uniform(-1, 1, self.spec.action_size)
        self._target = self._joints.copy()
        self._time = self.clock.now()
        self._coming: deque[tuple[float, np.ndarray]] = deque()  # when, and which target
        self._past: deque[tuple[float, np.ndarray]] = deque()  # when, and where the joints were
        self._past.append((self._time, self._joints.copy()))

    def observe(self) -> Obs:
        """Return the joints as they were `observing` seconds ago."""
        now = self.clock.now()
        self._advance(now)
        while len(self._past) > 1 and self._past[1][0] <= now - self._observing:
            self._past.popleft()
        time, joints = self._past[0]
        return Obs(now, {"joints": joints.astype(np.float32)}, {"joints": time})

    def command(self, command: Command) -> np.ndarray:
        """Follow a target from `acting` seconds on; None holds the last one."""
        self._advance(self.clock.now())
        target = self._coming[-1][1] if self._coming else self._target
        if command.action is not None:
            target = np.clip(np.asarray(command.action, float), *self.spec.bounds())
            self._coming.append((self.clock.now() + self._acting, target))
        return target.copy()

    def outcome(self) -> Outcome | None:
        """Return None: nobody judges it."""
        return None

    def close(self) -> None:
        """Do nothing: there is nothing to let go."""

    def _advance(self, now: float) -> None:
        while self._coming and self._coming[0][0] <= now:
            due, target = self._coming.popleft()
            self._move_until(due)
            self._target = target
        self._move_until(now)

    def _move_until(self, time: float) -> None:
        """Close in on the target, exponentially with time constant `lag`."""
        share = 1.0
        if self._lag:
            elapsed = max(0.0, time - self._time)
            share = 1 - np.exp(-elapsed / self._lag)
        self._joints = self._joints + share * (self._target - self._joints)
        self._time = max(self._time, time)
        self._past.append((self._time, self._joints.copy()))
