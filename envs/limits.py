"""Limits on what is sent: a setpoint that follows commands as far as position, velocity and acceleration allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import RobotError, names
from .spec import Spec

SLOW = 1e-3  # the least share of full velocity
FAR = 1e9  # farther than any robot reaches: larger numbers count as this
REACH = 0.25  # s of travel at full velocity that an action may lie ahead of what is measured, unless a limit says else


@dataclass(frozen=True)
class Limits:
    """Per action element (A,), in robot units and seconds; infinite where there is none.

    step: largest distance of what is sent from what is measured.
    """

    low: np.ndarray
    high: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    step: np.ndarray

    @classmethod
    def of(cls, spec: Spec, tighter: Mapping[str, Mapping[str, Any]] | None = None, free: Sequence[str] = ()) -> Limits:
        """The limits of a Spec, made tighter by a table {action: {limit: number or one per element}}.

        free: actions that may be sent without limits; RobotError where another one has none.
        """
        tighter = tighter or {}
        if unknown := set(free) - spec.actions.keys():
            raise RobotError(f"free={names(unknown)} is no action; valid: {names(spec.actions)}")
        if unknown := tighter.keys() - spec.actions.keys():
            raise RobotError(f"limits for {names(unknown)}, which are no actions; valid: {names(spec.actions)}")
        rows = [_field(key, spec, tighter.get(key, {}), key in free) for key in spec.actions]
        return cls(*(np.concatenate(column) for column in zip(*rows, strict=True)))


LIMITS = ("low", "high", "velocity", "acceleration", "step")


def _field(key: str, spec: Spec, tighter: Mapping[str, Any], free: bool) -> list[np.ndarray]:
    f, n = spec.actions[key], spec.actions[key].size
    if not isinstance(tighter, Mapping):
        raise RobotError(f"limits of {key!r} must be a table of {names(LIMITS)}, not {tighter!r}")
    if unknown := tighter.keys() - set(LIMITS):
        raise RobotError(f"limits of {key!r}: unknown {names(unknown)}; valid: {names(LIMITS)}")
    out = {}
    for name in LIMITS:
        sign = -1.0 if name == "low" else 1.0
        given = np.full(n, sign * math.inf) if not (own := getattr(f, name, ())) else np.array(own, float)
        more = _numbers(f"limits of {key!r}: {name}", tighter.get(name, sign * math.inf), n)
        out[name] = np.maximum(given, more) if name == "low" else np.minimum(given, more)
        if name not in ("low", "high") and (out[name] <= 0).any():
            raise RobotError(f"limits of {key!r}: {name} must be positive numbers, not {more}")
    if f.measured_by and f.kind != "discrete":
        out["step"] = np.minimum(out["step"], REACH * out["velocity"])
    if (out["low"] > out["high"]).any():
        raise RobotError(f"limits of {key!r}: nothing lies between low {out['low']} and high {out['high']}")
    needed = {"discrete": ("low", "high"), "angle": ("velocity", "acceleration")}.get(f.kind, LIMITS[:4])
    if f.kind == "quaternion" and not free:
        raise RobotError(f"action {key!r} is a rotation, which cannot be bounded here; free=[{key}] sends it as it is")
    if not (free or f.measured_by or f.kind == "discrete"):
        raise RobotError(f"nothing measures action {key!r}: where should it start from? free=[{key}] sends it as it is")
    if not free and (missing := [name for name in needed if np.isinf(out[name]).any()]):
        raise RobotError(f"action {key!r} has no limit on {names(missing)}: give some, or free=[{key}] to go without")
    return [out[name] for name in LIMITS]


def _numbers(what: str, given: Any, n: int) -> np.ndarray:
    """One number for all of n elements, or one for each."""
    try:
        numbers = np.broadcast_to(np.asarray(given, float), n)
    except (TypeError, ValueError):
        numbers = np.array([math.nan])
    if np.isnan(numbers).any() or isinstance(given, bool | str):
        raise RobotError(f"{what} must be a number, or {n} of them, not {given!r}")
    return numbers


class Limiter:
    """The setpoint (A,) of every tick: exactly what is wanted where that keeps all limits, else the nearest that does.

    In this order: a command that is no number brakes; acceleration, velocity and position are never exceeded, and to
    keep to a position it brakes in time; a setpoint too far from what is measured comes back as fast as they allow.
    """

    def __init__(self, spec: Spec, limits: Limits) -> None:
        self.limits, self._dt = limits, 1 / spec.command_hz
        kinds = [(f.kind, f.size) for f in spec.actions.values()]
        self._angle = np.concatenate([np.full(n, kind == "angle") for kind, n in kinds])
        self._known = np.concatenate([np.full(f.size, bool(f.measured_by)) for f in spec.actions.values()])
        self._jumps = np.concatenate([np.full(n, kind in ("discrete", "quaternion")) for kind, n in kinds])
        self.at = np.where(self._known, 0.0, np.clip(0.0, limits.low, limits.high))
        self.placed = bool(self._known.all())  # what nothing measures is nowhere until a command has been there

    def start(self, at: np.ndarray) -> None:
        """Begin at rest where the robot is (A,), NaN where nothing measures it: that stays where it was sent last.

        RobotError where that is outside the limits by more than a step.
        """
        at = np.where(self._known, at, self.at)
        inside = np.clip(at, self.limits.low, self.limits.high)
        reach = np.where(np.isfinite(self.limits.step), self.limits.step, 0.0)
        if not np.isfinite(at).all() or (far := np.abs(at - inside) > reach).any():
            where = "" if not np.isfinite(at).all() else f" in elements {np.flatnonzero(far).tolist()}"  # pyright: ignore
            raise RobotError(f"the robot's pose {at} lies outside its limits{where}: move it by hand")
        self.at, self._velocity = inside, np.zeros_like(inside)
        self._wanted: np.ndarray | None = None

    @property
    def resting(self) -> bool:
        """Whether the setpoint does not move."""
        return not self._velocity.any()

    def next(self, wanted: np.ndarray | None, measured: np.ndarray | None = None, pace: float = 1.0) -> np.ndarray:
        """The setpoint of this tick.

        wanted: None to brake and hold; measured (A,): NaN where nothing measures it; pace: share of full velocity.
        """
        if wanted is not None and not np.isfinite(wanted).all():
            wanted = None
        a, dt = self.limits.acceleration, self._dt
        moving = self._moving(wanted, pace)
        exact = np.zeros_like(self.at) if wanted is None else self._difference(wanted, self.at) / dt
        behind = (exact - moving) * dt
        coming = moving + np.sign(behind) * _brakeable(np.abs(behind), a, dt)
        slowest, fastest = self._reachable(measured, pace)
        fits = (slowest <= exact) & (exact <= fastest) & (np.abs(exact - moving) <= a * dt)
        velocity = np.where(fits, exact, np.clip(coming, slowest, fastest))
        at = self._wrapped(self.at + velocity * dt)
        at = np.clip(at, self.limits.low, self.limits.high)  # rounding
        if wanted is not None:
            at = np.where(self._jumps, np.clip(wanted, self.limits.low, self.limits.high), at)
        self.at, self._velocity = at, np.where(self._jumps, 0.0, velocity)
        self.placed |= wanted is not None
        return at.copy()

    def _moving(self, wanted: np.ndarray | None, pace: float) -> np.ndarray:
        """Velocity of what is wanted, as far as it may be followed; none where it has only begun or ended."""
        before, self._wanted = self._wanted, None if wanted is None else wanted.copy()
        if wanted is None or before is None:
            return np.zeros_like(self.at)
        most = max(pace, SLOW) * self.limits.velocity
        return np.clip(self._difference(wanted, before) / self._dt, -most, most)

    def _reachable(self, measured: np.ndarray | None, pace: float) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest velocity of this tick from which every position limit can still be kept."""
        limits, v, change = self.limits, self._velocity, self.limits.acceleration * self._dt
        low, high = limits.low - self.at, limits.high - self.at
        most = np.maximum(max(pace, SLOW) * limits.velocity, np.abs(v) - change)
        slowest, fastest = np.maximum(-most, v - change), np.minimum(most, v + change)
        back, ahead = -_brakeable(-low, limits.acceleration, self._dt), _brakeable(high, limits.acceleration, self._dt)
        back, ahead = np.clip(back, slowest, fastest), np.clip(ahead, slowest, fastest)
        if measured is None:
            return back, ahead
        offset = np.where(np.isfinite(measured), self._difference(measured, self.at), 0.0)
        near = np.where(np.isfinite(measured), limits.step, math.inf)
        closest = _brakeable(near + offset, limits.acceleration, self._dt)
        farthest = -_brakeable(near - offset, limits.acceleration, self._dt)
        return np.clip(np.minimum(farthest, closest), back, ahead), np.clip(closest, back, ahead)

    def _difference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        d = np.clip(np.nan_to_num(a) - b, -FAR, FAR)
        return np.where(self._angle, (d + math.pi) % (2 * math.pi) - math.pi, d)

    def _wrapped(self, at: np.ndarray) -> np.ndarray:
        return np.where(self._angle & (np.abs(at) > math.pi), (at + math.pi) % (2 * math.pi) - math.pi, at)


def _brakeable(distance: np.ndarray, acceleration: np.ndarray, dt: float) -> np.ndarray:
    """Largest velocity of the next tick after which braking at `acceleration` ends within `distance`.

    Negative where the distance is: the velocity that closes it, as far as that can be braked again.
    """
    d, a = np.abs(distance), acceleration
    with np.errstate(invalid="ignore"):
        v = np.where(np.isinf(a) | np.isinf(d), np.inf, np.sqrt((a * dt) ** 2 + 2 * a * d) - a * dt)
        v = np.minimum(v, d / dt)
    return np.where(distance < 0, -v, v)
