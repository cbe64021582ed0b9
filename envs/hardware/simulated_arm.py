"""A simulated arm without an environment: joints that follow their targets, with the delays that real ones have."""

from __future__ import annotations

from collections import deque

import numpy as np

from ..clock import Clock, WallClock
from ..robot import Command, Obs, Outcome
from ..spec import Field, Spec


class SimulatedArm:
    """Joints that close in on their targets with time constant `lag` [s].

    observing, acting: s until an observation arrives, stamped with when it was measured, and until a command takes
    effect; hz: of its commands.
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
        low, high, fast, hard = ((x,) * joints for x in (-3.0, 3.0, 3.0, 30.0))
        action = Field((joints,), "rad", "linear", (), low, high, "joints", fast, hard)
        self.spec = Spec({"joints": Field((joints,), "rad")}, {"joints": action}, policy_hz, hz)
        self.clock, self._observing, self._acting, self._lag = (
            clock or WallClock(),
            observing,
            acting,
            lag,
        )
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """A pose drawn by `seed`, at rest."""
        self._at = np.random.default_rng(seed).uniform(-1, 1, self.spec.action_size)
        self._target, self._time = self._at.copy(), self.clock.now()
        self._coming: deque[tuple[float, np.ndarray]] = deque()
        self._past: deque[tuple[float, np.ndarray]] = deque([(self._time, self._at.copy())])

    def observe(self) -> Obs:
        """The joints as they were `observing` s ago."""
        now = self.clock.now()
        self._advance(now)
        while len(self._past) > 1 and self._past[1][0] <= now - self._observing:
            self._past.popleft()
        time, joints = self._past[0]
        return Obs(now, {"joints": joints.astype(np.float32)}, {"joints": time})

    def command(self, command: Command) -> np.ndarray:
        """Take effect `acting` s from now."""
        self._advance(self.clock.now())
        target = self._coming[-1][1] if self._coming else self._target
        if command.action is not None:
            target = np.clip(np.asarray(command.action, float), *self.spec.bounds())
            self._coming.append((self.clock.now() + self._acting, target))
        return target.copy()

    def outcome(self) -> Outcome | None:
        """Nobody judges it."""
        return None

    def close(self) -> None:
        """Nothing to let go."""

    def _advance(self, now: float) -> None:
        while self._coming and self._coming[0][0] <= now:
            self._move(self._coming[0][0])
            self._target = self._coming.popleft()[1]
        self._move(now)

    def _move(self, to: float) -> None:
        share = 1 - np.exp(-max(0.0, to - self._time) / self._lag) if self._lag else 1.0
        self._at = self._at + share * (self._target - self._at)
        self._time = max(self._time, to)
        self._past.append((self._time, self._at.copy()))
