"""The clock of a recording: order, lost frames, rate and rhythm."""

from collections.abc import Iterator

import numpy as np

from ..episode import TIME
from ..store import DemoStore
from .findings import Finding, Report

LATE, JITTER, RATE = (
    1.5,
    0.2,
    0.1,
)  # periods from frame to frame that are a gap; too uneven; the wrong rate


def times(store: DemoStore) -> Iterator[Finding]:
    """What is wrong with the time stamps."""
    time, hz, report = store.array(TIME), store.spec.policy_hz, Report(store.ends, TIME)
    finite = np.isfinite(time)
    yield from report("error", ~finite, "the time is NaN or infinite; record again")
    steps = (
        np.diff(np.where(finite, time, 0.0), prepend=0.0) * hz
    )  # (N,) in periods, since the frame before
    usable = finite & np.roll(finite, 1)
    usable[[0, *store.ends[:-1]]] = False  # the first frame of an episode follows none
    yield from report(
        "error", usable & (steps <= 0), "the time does not increase; the recording mixed up frames"
    )
    yield from report(
        "warning",
        usable & (steps > LATE),
        f"more than {LATE} periods after the frame before: lost frames",
    )
    yield from _cadence(store, steps, usable)


def _cadence(store: DemoStore, steps: np.ndarray, usable: np.ndarray) -> Iterator[Finding]:
    groups = zip(np.split(steps, store.ends[:-1]), np.split(usable, store.ends[:-1]), strict=True)
    rates = np.array([_typical(step[use]) for step, use in groups])  # (E,) periods per frame
    wrong, hz = abs(rates - 1) > RATE, store.spec.policy_hz
    if wrong.any():
        message = (
            f"not at the {hz:g} Hz that the Spec says, the first at {hz / max(rates[wrong.argmax()], 1e-9):.3g} Hz; "
            "resample them, or give the Spec their rate"
        )
        yield from Report(store.ends, TIME).episodes("error", wrong, message)
    elif usable.any() and (jitter := float(np.quantile(abs(steps[usable] - 1), 0.9))) > JITTER:
        message = f"a tenth of the frames come {jitter:.0%} of a period or more off; is the recording computer too busy?"
        yield Finding("warning", TIME, message)


def _typical(steps: np.ndarray) -> float:
    """Mean of the middle half: a lost frame does not count, an uneven rhythm averages out."""
    middle = np.sort(steps)[len(steps) // 4 : len(steps) - len(steps) // 4]
    return float(middle.mean()) if len(middle) else 1.0
