"""What stands still, bit by bit, while others move: duplicated frames, frozen or slow sensors."""

from collections.abc import Iterator

import numpy as np

from ..episode import TIME
from .findings import Finding
from .recording import Recording
from .signals import COARSE, Signal, frame_changes, least_step, usual_step

ALIVE = (
    0.02  # share of repeated frames in the usual episode, above which an array is one that rests
)
LONG = 5  # so many repeats in a row need no jump after them to be a fault
FOLLOWS = 0.2  # share of changes that follow another at once, below which a sensor is slow
SLOW = 10  # frames within which a slow sensor changes
CHANGES = 20  # fewer of them tell nothing
STUCK = (
    "repeats the frame before, bit by bit, while others move: a frozen sensor or a stopped robot;"
    " cut these out"
)
DOUBLED = (
    "every measurement repeats the frame before while the action moves: duplicated frames;"
    " remove them"
)


def find_frozen(recording: Recording) -> Iterator[Finding]:
    """Find frames that repeat the one before in every measurement, or in one; and slow sensors."""
    total = recording.total_step(recording.observed)
    slow = {}
    stuck = {}
    frozen = _mark_all_frozen(recording, total)
    for signal in recording.observed:
        if signal.field.kind == "discrete":
            continue
        period = change_period(recording, signal.step, least_step(signal.step))
        if period:
            slow[signal.key] = period
        else:
            stuck[signal.key] = _mark_frozen(recording, signal)
            frozen = frozen | stuck[signal.key]
    doubled = (total == 0) & frozen
    yield from recording.report(TIME)("warning", doubled, DOUBLED)
    for signal in recording.observed:
        key = signal.key
        if key in slow:
            yield Finding("warning", key, slow_words(recording.hz, slow[key]))
        elif key in stuck:
            yield from recording.report(key)("warning", stuck[key] & ~doubled, STUCK)


def _mark_frozen(recording: Recording, signal: Signal) -> np.ndarray:
    """Return the frames in which a signal is frozen, (N,)."""
    own = [other for other in recording.commanded if other.field.measured_by == signal.key]
    # a gripper may be held by what it grasps
    led = bool(own) and signal.smooth and signal.field.size > 1
    if not led and not rarely_repeats(recording, signal.step):
        return recording.no_frames()
    others = own if led else _others(recording, signal)
    return mark_stalls(
        recording,
        signal.step == 0,
        frame_changes(signal.values, recording.starts),
        recording.total_step(others),
        _motion(signal.step) if signal.smooth else 0.0,  # what is noise is never still
    )


def _others(recording: Recording, signal: Signal) -> list[Signal]:
    others = recording.commanded
    for other in recording.observed:
        if other is not signal and other.smooth:
            others.append(other)
    return others


def _mark_all_frozen(recording: Recording, total: np.ndarray) -> np.ndarray:
    """Return the frames in which all signals are frozen together, (N,); each may rest alone."""
    smooth = [signal for signal in recording.observed if signal.smooth]
    if not smooth or not rarely_repeats(recording, total):
        return recording.no_frames()
    changes = [frame_changes(signal.values, recording.starts) for signal in smooth]
    moved = np.hstack(changes)
    fast = _motion(np.linalg.norm(moved, axis=1))
    commanded = recording.total_step(recording.commanded)
    return mark_stalls(recording, total == 0, moved, commanded, fast)


def _motion(step: np.ndarray) -> float:
    """Return the least step that is surely motion."""
    return max(usual_step(step) / 2, COARSE * least_step(step))


def rarely_repeats(recording: Recording, step: np.ndarray) -> bool:
    """Return whether exact repeats are unusual for something with these steps (N,)."""
    repeats = recording.follows() & (step == 0)
    return bool(np.median(recording.episode_means(repeats)) <= ALIVE)


def mark_stalls(
    recording: Recording,
    repeats: np.ndarray,
    moved: np.ndarray,
    others: np.ndarray,
    fast: float,
    slow: float | None = None,
) -> np.ndarray:
    """Return the repeats of something that stands still at once while others move, (N,).

    It stands still out of its motion, and then goes on. repeats: (N,) frames that repeat the one
    before; moved: (N, D) change from the frame before; others: (N,) how far they step; fast: the
    least step of a motion; slow: the least step before a long stall, by default the same.
    """
    step = np.linalg.norm(moved, axis=1)
    runs = recording.find_runs(recording.follows() & repeats)
    first, last = runs.T
    way = np.cumsum(others)
    went_on = way[last - 1] - way[first - 1] > usual_step(others) / 4 * (last - first)
    before = moved[first - 1]
    after = np.vstack([moved, 0 * moved[:1]])[last]
    # at a turning point a coarse sensor may repeat itself
    straight = (before * after).sum(axis=1) > fast**2
    at_once = straight & (step[first - 1] > fast)
    long = last - first >= LONG
    for_long = long & (step[first - 1] > (fast if slow is None else slow))
    mask = recording.no_frames()
    for start, stop in runs[went_on & (at_once | for_long)]:
        mask[start:stop] = True
    return mask


def change_period(recording: Recording, step: np.ndarray, resolution: float = 0.0) -> float:
    """Return the mean frames from change to change of a sensor slower than the recording, else 0.

    resolution: the least step that it can show.
    """
    changes = recording.follows() & (step > 0)
    frames = np.flatnonzero(changes)
    episodes = np.searchsorted(recording.ends, frames, side="right")
    gaps = np.diff(frames)[np.diff(episodes) == 0]  # within an episode
    close = gaps[gaps <= SLOW]
    if len(frames) < CHANGES or len(close) < len(frames) / 2:
        return 0.0
    if np.median(step[changes]) < COARSE * resolution:
        return 0.0
    return float(close.mean()) if (gaps == 1).mean() < FOLLOWS else 0.0


def slow_words(hz: float, period: float) -> str:
    """Return what to say of a sensor that changes every `period` frames."""
    return (
        f"changes only every {period:.2g} frames: the sensor gives about {hz / period:.3g} Hz and"
        f" the Spec says {hz:g} Hz; record at its rate, or speed it up"
    )
