"""Numbers that are cut off at a limit."""

from collections.abc import Iterator

import numpy as np

from .findings import Finding
from .recording import Recording
from .signals import COARSE, Signal, frame_changes, least_step, usual_step

PLATEAU = 5  # frames in a row at exactly the highest or lowest value
VISITS = 3  # so many times: a limit cuts it off
MIDDLE = 0.2  # share of frames in the middle half of the range: below it is a gripper or a switch


def find_clipped(recording: Recording) -> Iterator[Finding]:
    """Find elements that run into exactly their highest or lowest value again and again, and stay.

    Grippers are meant to, and so are commands that nothing measures: efforts and speeds.
    """
    measured = {signal.field.measured_by for signal in recording.commanded}
    for signal in recording.signals:
        is_gripper = signal.field.size == 1 and (signal.commanded or signal.key in measured)
        is_effort = signal.commanded and not signal.field.measured_by
        if signal.field.kind == "linear" and not is_gripper and not is_effort:
            yield from _check_signal(recording, signal)


def _check_signal(recording: Recording, signal: Signal) -> Iterator[Finding]:
    cut = recording.no_frames()
    words = []
    for element in range(signal.field.size):
        values = signal.raw[:, element].astype(float)
        for end, extreme in (("lowest", values.min()), ("highest", values.max())):
            mask = _mark_plateaus(recording, values, extreme)
            if mask.any():
                cut = cut | mask
                limit = f"{extreme:.4g} {signal.field.unit}"
                words.append(f"element {element} at its {end}, {limit}")
    message = (
        f"cut off at a limit ({', '.join(words).rstrip()}): widen the range of the sensor or"
        " command, or stay inside it"
    )
    yield from recording.report(signal.key)("warning", cut, message)


def _mark_plateaus(recording: Recording, values: np.ndarray, extreme: float) -> np.ndarray:
    """Return the frames (N,) at an extreme value that an element runs into, not rests at."""
    mask = recording.no_frames()
    low, high = np.quantile(values, [0.01, 0.99])
    middle = abs(values - (low + high) / 2) < (high - low) / 4
    step = abs(frame_changes(values, recording.starts))
    runs = recording.find_runs(values == extreme)
    long = np.diff(runs)[:, 0] >= PLATEAU
    fast = step[runs[:, 0]] > max(usual_step(step) / 4, COARSE * least_step(step))
    runs = runs[long & fast]
    if len(runs) < VISITS or middle.mean() < MIDDLE:
        return mask
    for start, stop in runs:
        mask[start:stop] = True
    return mask
