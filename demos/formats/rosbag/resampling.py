"""Messages that come when they like, brought to one rate. All times are whole nanoseconds."""

from collections.abc import Sequence

import numpy as np

from ....envs import DataError, Field, Spec
from ....envs.errors import names
from ....envs.interpolation import interpolate

TopicTimes = Sequence[tuple[str, np.ndarray]]  # of the messages of each topic (m,) [ns]
SECOND = 1e9  # [ns]
SLACK = 1_000  # [ns] that a stamp may be late: floating point, or a period that is no whole number
SILENCE = 2.0  # [s] between two messages over which nothing is interpolated or held
LONGEST_EPISODE = 10**7  # frames


def place_ticks(times: TopicTimes, hz: float) -> np.ndarray:
    """Return the times (T,) of the frames, `hz` apart.

    They go from the moment when all topics have been heard to the end of the first that ends.
    times: of the messages of each topic, in order.
    """
    start = max(stamps[0] for _, stamps in times)
    end = min(stamps[-1] for _, stamps in times)
    if end < start:
        raise DataError(
            f"there is no moment at which all topics are heard: {_describe_spans(times)};"
            " do their clocks agree?"
        )
    count = int((int(end) - int(start) + SLACK) * hz / SECOND) + 1
    if count > LONGEST_EPISODE:
        raise DataError(
            f"from {start / SECOND:.0f} to {end / SECOND:.0f} s there are {count} frames:"
            " does a clock jump?"
        )
    return start + np.rint(np.arange(count) * (SECOND / hz)).astype(np.int64)


def _describe_spans(times: TopicTimes) -> str:
    zero = min(stamps[0] for _, stamps in times)
    spans = []
    for topic, stamps in times:
        begin = (stamps[0] - zero) / SECOND
        end = (stamps[-1] - zero) / SECOND
        spans.append(f"{topic} {begin:.3f} to {end:.3f} s")
    return names(spans)


def latest_message(times: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """Return which of the messages is the last one at each tick, (T,)."""
    return np.searchsorted(times, ticks + SLACK, side="right") - 1


def require_no_gaps(times: np.ndarray, ticks: np.ndarray) -> None:
    """Raise DataError where a topic is silent so long that what lies between would be invented."""
    first, last = latest_message(times, ticks[[0, -1]])
    inside = times[first : last + 2]
    gaps = np.diff(inside) / SECOND
    if len(gaps) and gaps.max() > SILENCE:
        begin = (inside[gaps.argmax()] - ticks[0]) / SECOND
        raise DataError(
            f"silent for {gaps.max():.1f} s, {begin:.1f} s after the first frame, and nothing"
            " tells what was between; cut the bag there (numbers of kind discrete may keep their"
            " last value)"
        )


def resample(field: Field, times: np.ndarray, values: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """Return what `values` (m, n), valid at `times` (m,), are at each tick, (T, n)."""
    before = latest_message(times, ticks)
    after = np.minimum(before + 1, len(times) - 1)
    gap = np.maximum(times[after] - times[before], 1)
    weights = np.clip((ticks - times[before]) / gap, 0, 1)
    spec = Spec({}, {"x": Field(field.shape, kind=field.kind)}, 1.0)
    resampled = []
    # a quaternion without length becomes NaN, which `check` reports
    with np.errstate(invalid="ignore"):
        for first, second, weight in zip(before, after, weights, strict=True):
            resampled.append(interpolate(spec, values[first], values[second], weight))
    return np.stack(resampled)
