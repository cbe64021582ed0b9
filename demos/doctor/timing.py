"""The clock of a recording: order, lost frames, rate and rhythm."""

from collections.abc import Iterator

import numpy as np

from ..episode import TIME
from ..store import DemoStore
from .findings import Finding, Report

GAP = 1.5  # periods from frame to frame that are a gap
JITTER = 0.2  # periods by which a tenth of the frames may come too early or too late
RATE = 0.1  # share by which the rate may differ from that of the Spec


def check_times(store: DemoStore) -> Iterator[Finding]:
    """Find what is wrong with the time stamps."""
    time = store.array(TIME)
    report = Report(store.ends, TIME)
    finite = np.isfinite(time)
    yield from report("error", ~finite, "the time is NaN or infinite; record again")
    # (N,) since the frame before, in periods
    steps = np.diff(np.where(finite, time, 0.0), prepend=0.0) * store.spec.policy_hz
    usable = finite & np.roll(finite, 1)
    usable[[0, *store.ends[:-1]]] = False  # the first frame of an episode follows none
    message = "the time does not increase; the recording mixed up frames"
    yield from report("error", usable & (steps <= 0), message)
    message = f"more than {GAP} periods after the frame before: lost frames"
    yield from report("warning", usable & (steps > GAP), message)
    yield from _check_rhythm(store, steps, usable)


def _check_rhythm(store: DemoStore, steps: np.ndarray, usable: np.ndarray) -> Iterator[Finding]:
    """Find another rate than that of the Spec, or an uneven one."""
    hz = store.spec.policy_hz
    bounds = store.ends[:-1]
    periods = []  # per frame, of each episode
    for step, use in zip(np.split(steps, bounds), np.split(usable, bounds), strict=True):
        periods.append(_typical_step(step[use]))
    rates = np.array(periods)
    wrong = abs(rates - 1) > RATE
    if wrong.any():
        first = hz / max(rates[wrong.argmax()], 1e-9)
        message = (
            f"not at the {hz:g} Hz that the Spec says, the first at {first:.3g} Hz;"
            " resample them, or give the Spec their rate"
        )
        yield from Report(store.ends, TIME).episodes("error", wrong, message)
        return
    if not usable.any():
        return
    jitter = float(np.quantile(abs(steps[usable] - 1), 0.9))
    if jitter > JITTER:
        message = (
            f"a tenth of the frames come {jitter:.0%} of a period or more off;"
            " is the recording computer too busy?"
        )
        yield Finding("warning", TIME, message)


def _typical_step(steps: np.ndarray) -> float:
    """Return the mean of the middle half.

    A lost frame does not count, an uneven rhythm averages out.
    """
    quarter = len(steps) // 4
    middle = np.sort(steps)[quarter : len(steps) - quarter]
    return float(middle.mean()) if len(middle) else 1.0
