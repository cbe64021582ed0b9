"""Numbers by themselves: NaN, constants, outliers, bounds, units."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...envs import Field
from ..store import DemoStore
from .findings import Finding, Level, Report
from .signals import Channel, usual_range

OUTLIER = 10.0  # an outlier lies so many times the usual range beyond it
UNITS = 20.0  # ratio of ranges, commanded and measured, that only different units explain
TURNS = 4 * np.pi  # [rad] beyond two full turns are degrees
ROOM = 50.0  # [m] no arm or robot's room is wider
NORM = 0.01  # by which the norm of a quaternion may miss 1
ROUNDING = 1e-5  # share by which float32 may miss a bound
LARGE = {
    "rad": "more than two full turns; the unit is rad, these look like degrees",
    "m": f"more than {ROOM:g} m from the usual place; the unit is m, these look like mm",
}
NOT_FINITE = "NaN or infinite; remove these episodes, or repair the sensor or its driver"
NOT_NORMALISED = "the norm of a quaternion is not 1; normalise it, and check its order w x y z"
OUTLIERS = "far outside the usual range: glitches, or other units in some episodes"


def check_values(store: DemoStore, channels: Iterable[Channel]) -> Iterator[Finding]:
    """Find what is wrong with the numbers of a store frame by frame, and with their units."""
    by_key = {channel.key: channel for channel in channels}
    for channel in by_key.values():
        yield from _check_numbers(Report(store.ends, channel.key), channel)
        if channel.commanded and channel.field.measured_by:
            yield from _check_units(channel, by_key[channel.field.measured_by])


def mark_unusable(channels: Iterable[Channel]) -> np.ndarray:
    """Return the frames with numbers that `check_values` reports and that would spoil comparisons.

    (N,), True where they would.
    """
    return np.logical_or.reduce([_mark_unusable(channel) for channel in channels])


def _mark_unusable(channel: Channel) -> np.ndarray:
    bad = ~_is_finite(channel)
    good = channel.values[~bad].astype(float)
    if channel.field.kind == "linear" and len(good):
        worse = _is_outlier(good)
        large = _is_oversized(channel.field, good)
        if large.mean() < 0.5:  # where most are, they compare well
            worse = worse | large
        bad[~bad] = worse
    return bad


def _is_finite(channel: Channel) -> np.ndarray:
    return np.asarray(np.isfinite(channel.values).all(axis=1))


def _check_numbers(report: Report, channel: Channel) -> Iterator[Finding]:
    finite = _is_finite(channel)
    yield from report("error", ~finite, NOT_FINITE)
    good = channel.values[finite].astype(float)
    if len(good) < 2:
        return
    still = np.flatnonzero(np.ptp(good, 0) == 0)
    if len(still):
        message = (
            f"elements {still.tolist()} never change; if that is not meant so,"
            " check that they are connected"
        )
        yield Finding("warning", report.key, message)
    for test in _list_tests(channel):
        bad = np.zeros(len(finite), bool)
        bad[finite] = test.find(good)
        yield from report(test.level, bad, test.message)


@dataclass(frozen=True)
class FrameTest:
    """What frames are tested for. find: from values (N, size) to a mask (N,) of bad frames."""

    find: Callable[[np.ndarray], np.ndarray]
    level: Level
    message: str


def _list_tests(channel: Channel) -> Iterator[FrameTest]:
    field = channel.field
    if field.kind == "quaternion":
        yield FrameTest(_is_unnormalised, "error", NOT_NORMALISED)
    unit = "rad" if field.kind == "angle" else field.unit
    if unit in LARGE and field.kind in ("linear", "angle"):
        yield FrameTest(partial(_is_oversized, field), "warning", LARGE[unit])
    if field.kind == "linear":
        yield FrameTest(_is_outlier, "warning", OUTLIERS)
    if field.low or field.high:
        message = (
            f"outside the bounds of the Spec, {field.low} to {field.high} {field.unit}:"
            " correct either of the two"
        )
        level = "error" if channel.commanded else "warning"
        yield FrameTest(partial(_is_outside, field), level, message)


def _any_element(mask: np.ndarray) -> np.ndarray:
    return np.asarray(mask.any(axis=1))  # (N, size) -> (N,)


def _is_unnormalised(values: np.ndarray) -> np.ndarray:
    return abs(np.linalg.norm(values, axis=1) - 1) > NORM


def _is_outlier(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    # an element that hardly ever moves has no usual range
    beyond = np.where(high > low, OUTLIER * (high - low), np.inf)
    return _any_element((values < low - beyond) | (values > high + beyond))


def _is_outside(field: Field, values: np.ndarray) -> np.ndarray:
    low = np.array(field.low or [-np.inf] * field.size)
    high = np.array(field.high or [np.inf] * field.size)
    slack = ROUNDING * np.maximum(abs(low), abs(high))
    return _any_element((values < low - slack) | (values > high + slack))


def _is_oversized(field: Field, values: np.ndarray) -> np.ndarray:
    """Return the frames with numbers too large for their unit, which are no glitches, (N,)."""
    large = np.zeros(len(values), bool)
    if field.kind == "angle" or field.unit == "rad":
        large = _any_element(abs(values) > TURNS)
    elif field.unit == "m":
        large = _any_element(abs(values - np.median(values, axis=0)) > ROOM)
    return large & ~_is_outlier(values) if field.kind == "linear" else large


def _check_units(commanded: Channel, measured: Channel) -> Iterator[Finding]:
    usable = ~(_mark_unusable(commanded) | _mark_unusable(measured))
    if not usable.any():
        return
    told = usual_range(commanded.values[usable].astype(float))
    seen = usual_range(measured.values[usable].astype(float))
    if not (told > 0).all() or not (seen > 0).all():
        return
    ratio = float(np.median(told / seen))
    if not 1 / UNITS < ratio < UNITS:
        message = (
            f"ranges over {ratio:.3g} times what {commanded.field.measured_by!r} does,"
            " which should measure the same; other units?"
        )
        yield Finding("warning", commanded.key, message)
