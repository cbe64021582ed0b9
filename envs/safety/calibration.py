"""Latency calibration: a small motion of one joint after the other, and how late each is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..angles import shorter_way
from ..errors import RobotError, names
from ..robot import Command, Obs
from ..spec import Field, Spec
from .limits import Limits

SECONDS = 4.0  # that one element moves
PAUSE = 1.0  # s before the first, and after each: what comes late still counts as its own
FREQUENCIES = (0.5, 1.5)  # Hz, at the beginning and at the end of a motion
SIZES = {"rad": math.radians(2), "deg": 2.0, "m": 0.01, "mm": 10.0}  # a hand 1 m away: 3.5 cm
SPEEDS = {"rad": 0.25, "deg": math.degrees(0.25), "m": 0.25, "mm": 250.0}  # that hand: 0.25 m/s
RANGE_SHARE = 0.01  # of its range that an element of another unit moves
# Of the limits on velocity, acceleration and max_following_error, what the motion uses at most.
LIMIT_SHARE = 0.5

GRID = 0.001  # s
LONGEST = PAUSE  # s of delay that are looked for
LEAST = 0.8  # correlation below which nothing has been followed
WHOLE = {"discrete": "discrete", "quaternion": "a rotation"}  # kinds that do not move in part
AWAY = 0.01  # share of its motion from which an element counts as moving


class Sweep:
    """An Actor that moves one action element after the other, and returns to where it began.

    An element moves by 2 degrees or 1 cm at most, with up to 0.25 m/s at the hand of an arm of 1 m;
    in other units by 1 % of its range. It never goes beyond its limits, and uses half of their
    velocity, acceleration and max_following_error. Beside an end stop it only moves away from it.

    spec: of the robot; limits: those in use. moved: the elements that it moves; skipped: why not
    the others.
    """

    def __init__(self, spec: Spec, limits: Limits) -> None:
        self._limits = limits
        called = spec.element_names()
        why = _reasons(spec, limits)
        self._order = [k for k, reason in enumerate(why) if not reason]
        self.moved = tuple(called[k] for k in self._order)
        self.skipped = {called[k]: reason for k, reason in enumerate(why) if reason}
        if not self._order:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.skipped.items())
            raise RobotError(f"there is nothing that calibration could move: {reasons}")
        self._angle = spec.angle_mask()
        self._size, self._speed = _sizes(spec, limits)

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return PAUSE + len(self._order) * (SECONDS + PAUSE)

    def reset(self, seed: int | None = None) -> None:
        """Begin again."""
        self._start: np.ndarray | None = None

    def act(self, obs: Obs) -> Command:
        """Return where to move now.

        The first command holds; what is sent then is the pose to return to.
        """
        if self._start is None:
            self._began = obs.time
            return Command(None, "calibration")
        return Command(self._pose(self._start, obs.time - self._began), "calibration")

    def sent(self, action: np.ndarray) -> None:
        """Hear where the robot was sent."""
        if self._start is None:
            self._start = np.array(action, float)
            self._side, self._amplitude = self._fit(self._start)

    def _pose(self, start: np.ndarray, time: float) -> np.ndarray:
        turn, time = divmod(time - PAUSE, SECONDS + PAUSE)
        pose = start.copy()
        if 0 <= turn < len(self._order) and time < SECONDS:
            k = self._order[int(turn)]
            went = start[k] + self._amplitude[k] * float(wave(np.array(time), self._side[k]))
            went = np.clip(went, self._limits.low[k], self._limits.high[k])
            pose[k] = went
        return shorter_way(pose, self._angle & (np.abs(pose) > math.pi))

    def _fit(self, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The side to which each element has to move (A,), 0 for both, and how far (A,)."""
        up, down = self._limits.high - start, start - self._limits.low
        side = np.where(np.minimum(up, down) >= self._size, 0, np.where(up > down, 1, -1))
        room = np.where(side == 0, np.minimum(up, down), np.maximum(up, down))
        size = np.minimum(self._size, np.maximum(room, 0.0))
        hardest = LIMIT_SHARE * self._limits.acceleration
        for one in (-1, 0, 1):
            speed, acceleration = _peaks(one)
            allowed = np.minimum(self._speed / speed, hardest / acceleration)
            size = np.where(side == one, np.minimum(size, allowed), size)
        return side, size


def wave(time: np.ndarray, side: int) -> np.ndarray:
    """Return the motion of one element at `time` in [0, SECONDS], within -1 and 1.

    At both ends it is 0 and at rest. side: 1 or -1 where it must stay on one side of 0, else 0.
    """
    low, high = FREQUENCIES
    phase = 2 * np.pi * (low * time + (high - low) * time**2 / (2 * SECONDS))
    swing = side * (1 - np.cos(phase)) / 2 if side else np.sin(phase)
    return np.sin(np.pi * time / SECONDS) ** 2 * swing


def _peaks(side: int) -> tuple[float, float]:
    """Largest velocity and acceleration of a wave."""
    step = SECONDS / 4000
    velocity = np.diff(wave(np.arange(4001) * step, side)) / step
    return np.abs(velocity).max(), np.abs(np.diff(velocity)).max() / step


def _sizes(spec: Spec, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """How far each element may move at most, and how fast (A,)."""
    units = ["rad" if f.kind == "angle" else f.unit for f in spec.actions.values()]
    sizes = _each(spec, [SIZES.get(unit, math.nan) for unit in units])
    speeds = _each(spec, [SPEEDS.get(unit, math.inf) for unit in units])
    sizes = np.where(np.isnan(sizes), RANGE_SHARE * (limits.high - limits.low), sizes)
    sizes = np.minimum(sizes, LIMIT_SHARE * limits.max_following_error)
    return sizes, np.minimum(speeds, LIMIT_SHARE * limits.velocity)


def _reasons(spec: Spec, limits: Limits) -> list[str]:
    """Why each element is not moved, "" where it is."""
    fields = [f for f in spec.actions.values() for _ in range(f.size)]
    return [_reason(f, limits.high[k] - limits.low[k]) for k, f in enumerate(fields)]


def _reason(field: Field, room: float) -> str:
    if field.relative:
        return "it is a difference, which nothing measures"
    if field.kind in WHOLE:
        return f"it is {WHOLE[field.kind]}, of which no part moves a little"
    if not field.measured_by:
        return "nothing measures it"
    if room <= 0:
        return "its limits leave no room"
    if field.unit not in SIZES and field.kind != "angle" and math.isinf(room):
        units = names(SIZES)
        return f"no motion is known to be small: it needs low and high, or one of the units {units}"
    return ""


def _each(spec: Spec, values: list) -> np.ndarray:
    """Repeat one value per action field for each of its elements (A,)."""
    sizes = [f.size for f in spec.actions.values()]
    return np.repeat(np.array(values), sizes)


@dataclass(frozen=True)
class Delays:
    """What is late, in seconds.

    observation: age of each stream, the median; actuation: from a command to the motion, of each
    element that moved; still: elements that were moved and did not follow.
    """

    observation: dict[str, float]
    actuation: dict[str, float]
    still: tuple[str, ...]

    @property
    def median(self) -> float:
        """The actuation delay of most elements."""
        return float(np.median(list(self.actuation.values())))

    @property
    def worst(self) -> float:
        """The longest actuation delay."""
        return max(self.actuation.values())


def delays(spec: Spec, ticks: np.ndarray) -> Delays:
    """Measure the delays of a robot from the ticks (T,) of a Sweep.

    ticks: records with time [s], sent (A,), measured (A,), and ages: of each stream [s], as ordered
    in spec.observations. How late an element moves is told by the stamps of the stream that
    measures it, and by no other. RobotError where the motion was broken off, or where nothing
    followed.
    """
    if not len(ticks):
        raise RobotError("the motion was broken off before it began: no delay can be told")
    streams = list(spec.observations)
    fields = [f for f in spec.actions.values() for _ in range(f.size)]
    actuation, still = {}, []
    for k, (name, f) in enumerate(zip(spec.element_names(), fields, strict=True)):
        sent = ticks["sent"][:, k].astype(float)
        if not f.measured_by or f.kind in WHOLE or not np.ptp(sent):
            continue
        measured = np.nan_to_num(ticks["measured"][:, k].astype(float))
        if f.kind == "angle":
            sent, measured = np.unwrap(sent), np.unwrap(measured)
        seen = ticks["time"] - ticks["ages"][:, streams.index(f.measured_by)]
        try:
            actuation[name] = delay(ticks["time"], sent, seen, measured)
        except StillError:
            still.append(name)
    if not actuation:
        which = f" ({names(still)})" if still else ", which was nothing"
        raise RobotError(f"what is measured does not follow what is sent{which}")
    ages = np.median(ticks["ages"], axis=0).tolist()
    return Delays(dict(zip(streams, ages, strict=True)), actuation, tuple(still))


class StillError(RobotError):
    """What is measured did not follow."""


def delay(time: np.ndarray, sent: np.ndarray, seen: np.ndarray, measured: np.ndarray) -> float:
    """Measure how much later [s] `measured` shows what was `sent` of one element, each (T,).

    time (T,): when it was sent; seen (T,): the time stamps of what is measured. By
    cross-correlation, and so to half a tick: between two samples nothing is known. RobotError where
    the motion was broken off, StillError where nothing followed.
    """
    offset = np.abs(sent - sent[0])
    moving = np.flatnonzero(offset > AWAY * offset.max())
    if not len(moving) or moving[-1] + 1 == len(time):
        raise RobotError("the motion was broken off: no delay can be told")
    end = min(float(time[-1]), float(time[moving[-1] + 1]) + LONGEST)
    begin = float(time[max(moving[0] - 1, 0)])
    grid = np.arange(begin, end, GRID)
    held = sent[np.searchsorted(time, grid, side="right") - 1]  # a command holds until the next one
    seen, first = np.unique(seen, return_index=True)
    shown = np.interp(grid, seen, measured[first])
    n = int(min(LONGEST / GRID, len(grid) // 2))
    part = len(grid) - n
    like = np.array([_correlation(held[:part], shown[j : part + j]) for j in range(n)])
    j = int(np.abs(like).argmax())  # what goes the other way is not taken for half a period later
    if like[j] < LEAST:
        raise StillError("what is measured does not follow what is sent")
    if not 0 < j < n - 1:
        return j * GRID
    before, at, after = like[j - 1 : j + 2]
    bend = before - 2 * at + after
    return float(j + (0.5 * (before - after) / bend if bend < 0 else 0.0)) * GRID


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0
