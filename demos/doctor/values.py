"""Numbers by themselves: NaN, constants, outliers, bounds, units, clipping."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

from ...envs import Field
from ..store import DemoStore
from .findings import Finding, Level, Report
from .recording import COARSE, Channel, Recording, Stream, least, moves, usual

FAR = 10.0  # an outlier lies so many times the usual range beyond it
UNITS = 20.0  # ratio of ranges of one quantity, commanded and measured, that only different units explain
TURNS, ROOM = (
    4 * np.pi,
    50.0,
)  # beyond two full turns are degrees [rad]; no arm or robot's room is wider [m]
LARGE = {
    "rad": "more than two full turns; the unit is rad, these look like degrees",
    "m": f"more than {ROOM:g} m from the usual place; the unit is m, these look like mm",
}
PLATEAU, VISITS = (
    5,
    3,
)  # frames in a row at exactly the highest or lowest value; so many times: a limit cuts it off
MIDDLE = 0.2  # share of frames in the middle half of the range, below which an element is a gripper or a switch


def values(store: DemoStore, arrays: Iterable[Channel]) -> Iterator[Finding]:
    """What is wrong with the numbers of a store frame by frame, and with their units."""
    found = {channel.key: channel for channel in arrays}
    for channel in found.values():
        yield from _numbers(Report(store.ends, channel.key), channel)
        if channel.commanded and channel.field.measured_by:
            yield from _units(channel, found[channel.field.measured_by])


def unusable(arrays: Iterable[Channel]) -> np.ndarray:
    """(N,) frames with numbers that `values` reports and that would spoil comparisons."""
    return np.logical_or.reduce([_unusable(channel) for channel in arrays])


def _unusable(channel: Channel) -> np.ndarray:
    bad = ~_finite(channel)
    good = channel.values[~bad].astype(float)
    if channel.field.kind == "linear" and len(good):
        large = _oversized(channel.field, good)
        bad[~bad] = _outliers(good) | (
            large if large.mean() < 0.5 else False
        )  # where most are, they compare well
    return bad


def _finite(channel: Channel) -> np.ndarray:
    return np.asarray(np.isfinite(channel.values).all(axis=1))


def _numbers(report: Report, channel: Channel) -> Iterator[Finding]:
    finite = _finite(channel)
    yield from report(
        "error",
        ~finite,
        "NaN or infinite; remove these episodes, or repair the sensor or its driver",
    )
    good = channel.values[finite].astype(float)
    if len(good) < 2:
        return
    if len(still := np.flatnonzero(np.ptp(good, 0) == 0)):
        message = f"elements {still.tolist()} never change; if that is not meant so, check that they are connected"
        yield Finding("warning", report.key, message)
    bad = np.zeros(len(finite), bool)
    for test, level, message in _tests(channel.field, "error" if channel.commanded else "warning"):
        bad[finite] = test(good)
        yield from report(level, bad, message)


def _tests(
    field: Field, outside: Level
) -> Iterator[tuple[Callable[[np.ndarray], np.ndarray], Level, str]]:
    """What one kind of field is tested for: from values (N, size) to a mask (N,) of bad frames."""
    if field.kind == "quaternion":
        yield (
            _unnormalised,
            "error",
            "the norm of a quaternion is not 1; normalise it, and check its order w x y z",
        )
    unit = "rad" if field.kind == "angle" else field.unit
    if unit in LARGE and field.kind in ("linear", "angle"):
        yield partial(_oversized, field), "warning", LARGE[unit]
    if field.kind == "linear":
        yield (
            _outliers,
            "warning",
            "far outside the usual range: glitches, or other units in some episodes",
        )
    if field.low or field.high:
        message = f"outside the bounds of the Spec, {field.low} to {field.high} {field.unit}: correct either of the two"
        yield partial(_outside, field), outside, message


def _any(mask: np.ndarray) -> np.ndarray:
    return np.asarray(mask.any(axis=1))  # (N, size) -> (N,)


def _unnormalised(values: np.ndarray) -> np.ndarray:
    return abs(np.linalg.norm(values, axis=1) - 1) > 0.01


def _outliers(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    reach = np.where(
        high > low, FAR * (high - low), np.inf
    )  # an element that hardly ever moves has no usual range
    return _any((values < low - reach) | (values > high + reach))


def _outside(field: Field, values: np.ndarray) -> np.ndarray:
    low = np.array(field.low or [-np.inf] * field.size)
    high = np.array(field.high or [np.inf] * field.size)
    slack = 1e-5 * np.maximum(abs(low), abs(high))  # float32 rounds
    return _any((values < low - slack) | (values > high + slack))


def _oversized(field: Field, values: np.ndarray) -> np.ndarray:
    """(N,) frames with numbers too large for their unit, which are no glitches."""
    large = np.zeros(len(values), bool)
    if field.kind == "angle" or field.unit == "rad":
        large = _any(abs(values) > TURNS)
    elif field.unit == "m":
        large = _any(abs(values - np.median(values, axis=0)) > ROOM)
    return large & ~_outliers(values) if field.kind == "linear" else large


def _units(told: Channel, seen: Channel) -> Iterator[Finding]:
    both = np.stack([told.values, seen.values]).astype(float)  # (2, N, size)
    both = both[:, ~(_unusable(told) | _unusable(seen))]
    ranges = (
        np.ptp(np.quantile(both, [0.01, 0.99], axis=1), axis=0) if both.size else np.zeros((2, 1))
    )
    if not (ranges > 0).all():
        return
    ratio = float(np.median(ranges[0] / ranges[1]))
    if not 1 / UNITS < ratio < UNITS:
        message = (
            f"ranges over {ratio:.3g} times what {told.field.measured_by!r} does, which should measure the same; "
            "other units?"
        )
        yield Finding("warning", told.key, message)


def clipped(r: Recording) -> Iterator[Finding]:
    """Elements that run into exactly their highest or lowest value again and again, and stay there.

    Grippers are meant to, and so are commands that nothing measures: efforts and speeds.
    """
    measured = {s.field.measured_by for s in r.commanded}
    for s in r.streams:
        gripper = s.field.size == 1 and (s.commanded or s.key in measured)
        if s.field.kind != "linear" or gripper or (s.commanded and not s.field.measured_by):
            continue
        masks = {
            (i, end): _plateaus(r, s, i, end)
            for i in range(s.field.size)
            for end in ("lowest", "highest")
        }
        cut = {where: mask for where, mask in masks.items() if mask.any()}
        if cut:
            words = ", ".join(
                f"element {i} at its {end}, {_extreme(s, i, end):.4g} {s.field.unit}"
                for i, end in cut
            )
            message = f"cut off at a limit ({words.rstrip()}): widen the range of the sensor or command, or stay inside it"
            yield from r.report(s.key)("warning", np.logical_or.reduce([*cut.values()]), message)


def _extreme(s: Stream, element: int, end: str) -> float:
    return float(s.raw[:, element].min() if end == "lowest" else s.raw[:, element].max())


def _plateaus(r: Recording, s: Stream, element: int, end: str) -> np.ndarray:
    """(N,) frames at an extreme value that the element runs into, not rests at."""
    out, x = np.zeros(r.frames, bool), s.raw[:, element].astype(float)
    low, high = np.quantile(x, [0.01, 0.99])
    middle = abs(x - (low + high) / 2) < (high - low) / 4
    step = abs(moves(x, r.starts))
    runs = r.runs(x == _extreme(s, element, end))
    runs = runs[
        (np.diff(runs)[:, 0] >= PLATEAU)
        & (step[runs[:, 0]] > max(usual(step) / 4, COARSE * least(step)))
    ]
    if len(runs) < VISITS or middle.mean() < MIDDLE:
        return out
    for start, stop in runs:
        out[start:stop] = True
    return out
