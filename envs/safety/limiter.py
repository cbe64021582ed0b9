"""A setpoint that follows commands as far as position, velocity and acceleration allow."""

from __future__ import annotations

import math

import numpy as np

from ..angles import shorter_way
from ..errors import RobotError
from ..spec import Spec
from .limits import Limits

SLOW = 1e-3  # the least share of full velocity
FAR = 1e9  # farther than any robot reaches: larger numbers count as this


class Limiter:
    """The setpoint (A,) of every tick.

    It is exactly what is wanted where that keeps all limits, else the nearest that does.

    Acceleration, velocity and position are never exceeded, and to keep a position it brakes in
    time. The setpoint never goes towards what is measured: it only goes no farther away from it
    than `limits.max_following_error`. A setpoint that begins outside its positions goes no farther
    out, and comes inside with the first command. Elements whose actions are differences hold by 0.
    """

    def __init__(self, spec: Spec, limits: Limits) -> None:
        self.limits = limits
        self._dt = 1 / spec.command_hz
        jumps = []
        known = []
        for field in spec.actions.values():
            jumps.append(np.full(field.size, field.kind in ("discrete", "quaternion")))
            known.append(np.full(field.size, bool(field.measured_by)))
        self._angle = spec.angle_mask()
        self._jumps = np.concatenate(jumps)
        self._relative = spec.relative_mask()
        self._known = np.concatenate(known)
        self.at = np.where(self._known, 0.0, np.clip(0.0, limits.low, limits.high))
        self.located = False
        self._commanded = bool((self._known | self._relative).all())
        self.stop()

    def start(self, at: np.ndarray, keep: np.ndarray | float = -1.0) -> None:
        """Begin where the robot is (A,), NaN where nothing measures it.

        That stays where it was sent last.
        keep: a setpoint that was placed and lies so near to the robot is left as it is, its
        velocity too. RobotError, and nothing begun, where the robot stands outside its positions by
        more than `limits.max_following_error`.
        """
        where = np.where(self._known, at, self.at)
        self._require_inside(where)
        with np.errstate(invalid="ignore"):
            kept = self.located & (np.abs(self._difference(where, self.at)) <= keep)
        kept |= ~self._known
        self.at = np.where(kept, self.at, self._wrapped(where))
        self._velocity = np.where(kept, self._velocity, 0.0)
        self._wanted = None
        self.located = True

    def _require_inside(self, where: np.ndarray) -> None:
        if not np.isfinite(where).all():
            raise RobotError(f"the robot's pose {where} is not known")
        inside = np.clip(where, self.limits.low, self.limits.high)
        reach = np.where(
            np.isfinite(self.limits.max_following_error), self.limits.max_following_error, 0.0
        )
        outside = np.flatnonzero((np.abs(where - inside) > reach) & ~self._relative)
        if len(outside):
            raise RobotError(
                f"the robot's pose {where} lies outside its limits in elements "
                f"{outside.tolist()}: move it by hand"
            )

    def lift(self) -> None:
        """Forget where the setpoint is: something else moves the robot now."""
        self.located = False
        self.stop()

    def stop(self) -> None:
        """Say that the robot has come to rest at its setpoint."""
        self._velocity = np.zeros_like(self.at)
        self._wanted: np.ndarray | None = None
        self._before = self.at, self._velocity

    @property
    def placed(self) -> bool:
        """Whether there is a setpoint.

        What nothing measures is nowhere until a command has been there.
        """
        return self.located and self._commanded

    @property
    def resting(self) -> bool:
        """Whether the setpoint does not move."""
        return not self._velocity.any()

    def next(
        self, wanted: np.ndarray | None, measured: np.ndarray | None = None, pace: float = 1.0
    ) -> np.ndarray:
        """Return the setpoint of this tick (A,).

        wanted (A,): None to brake and hold; measured (A,): NaN where nothing measures it; pace:
        share of full velocity.
        """
        self._before = self.at, self._velocity
        if wanted is not None and not np.isfinite(wanted).all():
            wanted = None
        velocity = self._velocity_towards(wanted, measured, pace)
        low, high = self._positions()
        at = np.clip(self._wrapped(self.at + velocity * self._dt), low, high)  # rounding
        if wanted is not None:
            at = np.where(self._jumps, np.clip(wanted, self.limits.low, self.limits.high), at)
        self.at = np.where(self._relative, velocity * self._dt, at)
        self._velocity = np.where(self._jumps, 0.0, velocity)
        self._commanded |= wanted is not None
        return self.at.copy()

    def take_back(self) -> None:
        """Undo the last `next`: the robot did not take it."""
        self.at, self._velocity = self._before

    def _velocity_towards(
        self, wanted: np.ndarray | None, measured: np.ndarray | None, pace: float
    ) -> np.ndarray:
        """Return the velocity (A,) of this tick."""
        change = self.limits.acceleration * self._dt
        if wanted is not None:
            inside = np.clip(wanted, self.limits.low, self.limits.high)
            wanted = np.where(self._angle, wanted, inside)
        moving = self._moving(wanted, pace)
        exact = self._exact(wanted)
        behind = (exact - moving) * self._dt
        coming = moving + np.sign(behind) * _brakeable(
            np.abs(behind), self.limits.acceleration, self._dt
        )
        slowest, fastest = self._reachable(measured, pace)
        fits = (slowest <= exact) & (exact <= fastest) & (np.abs(exact - moving) <= change)
        towards = np.where(fits, exact, np.clip(coming, slowest, fastest))
        return np.where(self._relative, np.clip(exact, *self._rates(pace)), towards)

    def _exact(self, wanted: np.ndarray | None) -> np.ndarray:
        """Return the velocity (A,) that is where it is wanted within this tick."""
        if wanted is None:
            return np.zeros_like(self.at)
        return np.where(self._relative, wanted, self._difference(wanted, self.at)) / self._dt

    def _rates(self, pace: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest velocity of what is sent as differences."""
        change = self.limits.acceleration * self._dt
        lower = self._velocity - change
        upper = self._velocity + change
        most = max(pace, SLOW) * self.limits.velocity
        slowest = np.maximum(self.limits.low / self._dt, -most)
        fastest = np.minimum(self.limits.high / self._dt, most)
        slowest = np.minimum(np.maximum(slowest, lower), upper)
        fastest = np.maximum(np.minimum(fastest, upper), lower)
        return slowest, fastest

    def _positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest position: from outside the limits no farther out."""
        return np.minimum(self.limits.low, self.at), np.maximum(self.limits.high, self.at)

    def _moving(self, wanted: np.ndarray | None, pace: float) -> np.ndarray:
        """Return the velocity (A,) of what is wanted, as far as it may be followed.

        It is 0 where something has only begun, or ended, to be wanted.
        """
        before = self._wanted
        self._wanted = None if wanted is None else wanted.copy()
        if wanted is None or before is None:
            return np.zeros_like(self.at)
        most = max(pace, SLOW) * self.limits.velocity
        return np.clip(self._difference(wanted, before) / self._dt, -most, most)

    def _reachable(self, measured: np.ndarray | None, pace: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest and highest velocity that still keep every position limit."""
        acceleration = self.limits.acceleration
        dt = self._dt
        change = acceleration * dt
        lowest, highest = self._positions()
        most = np.maximum(max(pace, SLOW) * self.limits.velocity, np.abs(self._velocity) - change)
        slowest = np.maximum(-most, self._velocity - change)
        fastest = np.minimum(most, self._velocity + change)
        back = np.clip(-_brakeable(self.at - lowest, acceleration, dt), slowest, fastest)
        ahead = np.clip(_brakeable(highest - self.at, acceleration, dt), slowest, fastest)
        if measured is None:
            return back, ahead
        known = np.isfinite(measured)
        offset = np.where(known, self._difference(measured, self.at), 0.0)
        near = np.where(known, self.limits.max_following_error, math.inf)
        farthest = -_brakeable(np.maximum(near - offset, 0.0), acceleration, dt)
        closest = _brakeable(np.maximum(near + offset, 0.0), acceleration, dt)
        return np.clip(farthest, back, ahead), np.clip(closest, back, ahead)

    def _difference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return shorter_way(np.clip(np.nan_to_num(a) - b, -FAR, FAR), self._angle)

    def _wrapped(self, at: np.ndarray) -> np.ndarray:
        return shorter_way(at, self._angle & (np.abs(at) > math.pi))


def _brakeable(distance: np.ndarray, acceleration: np.ndarray, dt: float) -> np.ndarray:
    """Return the largest velocity after which braking at `acceleration` ends within `distance`."""
    with np.errstate(invalid="ignore"):
        change = acceleration * dt
        velocity = np.sqrt(change**2 + 2 * acceleration * distance) - change
        velocity = np.where(np.isinf(acceleration) | np.isinf(distance), np.inf, velocity)
    return np.minimum(velocity, distance / dt)
