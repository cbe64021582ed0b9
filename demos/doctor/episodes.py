"""Episodes as a whole: too short, copied, or unlike all others."""

from collections.abc import Iterator
from hashlib import sha256

import numpy as np

from ..episode import ACTION, TIME
from ..store import DemoStore
from .findings import Finding, Report
from .recording import Recording
from .signals import Signal
from .stopped import mark_motionless

FEW = 8  # fewer episodes have no usual one
# standard deviations, estimated by quartiles, from the median; the furthest of 400 real episodes is
# at 6
ODD = 8.0
QUARTILES = 1.35  # standard deviations between the quartiles of a normal distribution
RARE = 0.05  # where more episodes than this share are odd, they are another way to do it
LEAST_LOG_SPREAD = 0.15  # standard deviation of logarithms
LEAST_SPREAD = 0.05  # standard deviation of numbers, in their usual range
LITTLE = 0.01  # share of the usual range: ways shorter than this are all alike


def find_short(store: DemoStore, horizon: int) -> Iterator[Finding]:
    """Find episodes shorter than a chunk of `horizon` frames."""
    bad = np.diff(store.ends, prepend=0) < horizon
    level = "error" if bad.all() else "warning"
    message = f"with fewer than the {horizon} frames of a chunk; remove them"
    yield from Report(store.ends, TIME).episodes(level, bad, message)


def find_copies(store: DemoStore) -> Iterator[Finding]:
    """Find episodes with the actions of another."""
    seen = set()
    copied = []
    for actions in np.split(store.array(ACTION), store.ends[:-1]):
        digest = sha256(actions.tobytes()).digest()
        copied.append(digest in seen)
        seen.add(digest)
    message = "with exactly the actions of an earlier one; remove the copies"
    yield from Report(store.ends, ACTION).episodes("warning", np.array(copied), message)


def find_odd(recording: Recording) -> Iterator[Finding]:
    """Find episodes unlike the others.

    They differ in length, in how far they move, where they start, or in their mean action.
    """
    if len(recording) < FEW:
        return
    seconds = recording.lengths / recording.hz
    words = f"much shorter or longer than the usual {np.median(seconds):.3g} s"
    odd = _mark_odd(np.log(seconds), LEAST_LOG_SPREAD)
    yield from _report(recording, TIME, odd, words)
    moves = ~mark_motionless(recording)  # what does not is a finding of its own
    for signal in recording.robot:
        if signal.smooth:
            yield from _find_odd_way(recording, signal, moves)
    for signal in recording.signals:
        if signal.field.kind == "discrete":
            continue
        if signal.commanded:
            odd = _mark_odd(recording.episode_means(signal.values), LEAST_SPREAD) & moves
            words = "with a mean action far from the usual one"
        else:
            odd = _mark_odd(signal.values[recording.starts], LEAST_SPREAD)
            words = "starting far from where the others do"
        yield from _report(recording, signal.key, odd, words)


def _find_odd_way(recording: Recording, signal: Signal, moves: np.ndarray) -> Iterator[Finding]:
    way = recording.episode_means(signal.step) * np.median(recording.lengths)
    odd = _mark_odd(np.log(way + LITTLE), LEAST_LOG_SPREAD) & moves
    words = "moving it much further or less far than the others in the same time"
    yield from _report(recording, signal.key, odd, words)


def _mark_odd(feature: np.ndarray, least_spread: float) -> np.ndarray:
    """Return which episodes lie far from the others, (E,), by a feature (E, ...) of theirs."""
    feature = feature.reshape(len(feature), -1)
    away = abs(feature - np.median(feature, axis=0))
    spread = np.ptp(np.quantile(feature, [0.25, 0.75], axis=0), axis=0) / QUARTILES
    return (away > ODD * np.maximum(spread, least_spread)).any(axis=1)


def _report(recording: Recording, key: str, odd: np.ndarray, words: str) -> Iterator[Finding]:
    if odd.sum() > max(2, RARE * len(recording)):
        return
    message = f"{words}; look at them, and remove what is no demonstration"
    yield from recording.report(key).episodes("warning", odd, message)
