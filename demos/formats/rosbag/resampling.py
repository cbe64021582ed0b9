"""Messages that come when they like, brought to one rate. All times are whole nanoseconds."""

from collections.abc import Sequence

import numpy as np

from ....envs import DataError, Field, Spec
from ....envs.agent import interpolate
from ....envs.errors import names

SLACK = 1_000  # ns that a stamp may be late: it went through floating point, or the period is no whole number of ns
SILENCE = 2.0  # s between two messages over which nothing is interpolated or held

MOST = 10**7  # frames of an episode


def ticks(times: Sequence[tuple[str, np.ndarray]], hz: float) -> np.ndarray:
    """(T,) from the moment when all topics have been heard to the end of the first that ends; times are in order."""
    start, end = max(t[0] for _, t in times), min(t[-1] for _, t in times)
    if end < start:
        zero = min(t[0] for _, t in times)
        spans = {
            f"{topic} {(t[0] - zero) / 1e9:.3f} to {(t[-1] - zero) / 1e9:.3f} s"
            for topic, t in times
        }
        raise DataError(
            f"there is no moment at which all topics are heard: {names(spans)}; do their clocks agree?"
        )
    count = int((int(end) - int(start) + SLACK) * hz / 1e9) + 1
    if count > MOST:
        raise DataError(
            f"from {start / 1e9:.0f} to {end / 1e9:.0f} s there are {count} frames: does a clock jump?"
        )
    return start + np.rint(np.arange(count) * (1e9 / hz)).astype(np.int64)


def latest(times: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(T,) which of the messages is the last one at each tick."""
    return np.searchsorted(times, at + SLACK, side="right") - 1


def check_gaps(times: np.ndarray, at: np.ndarray) -> None:
    """Raise DataError where a topic falls silent for so long that what lies between would be invented."""
    first, last = latest(times, at[[0, -1]])
    inside = times[first : last + 2]
    gaps = np.diff(inside) / 1e9
    if len(gaps) and gaps.max() > SILENCE:
        begin = (inside[gaps.argmax()] - at[0]) / 1e9
        raise DataError(
            f"silent for {gaps.max():.1f} s, {begin:.1f} s after the first frame, and nothing tells what was between; "
            f"cut the bag there (numbers of kind discrete may keep their last value)"
        )


def resample(field: Field, times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(T, n) what `values` (m, n), valid at `times` (m,), are at each tick."""
    i = latest(times, at)
    j = np.minimum(i + 1, len(times) - 1)
    weights = np.clip((at - times[i]) / np.maximum(times[j] - times[i], 1), 0, 1)
    spec = Spec({}, {"x": Field(field.shape, kind=field.kind)}, 1.0)
    with np.errstate(
        invalid="ignore"
    ):  # a quaternion without length becomes NaN, which `check` reports
        return np.stack(
            [interpolate(spec, *pair) for pair in zip(values[i], values[j], weights, strict=True)]
        )
