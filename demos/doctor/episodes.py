"""Episodes as a whole: too short, copied, or unlike all others."""

from collections.abc import Iterator
from hashlib import sha256

import numpy as np

from ..episode import ACTION, TIME
from ..store import DemoStore
from .findings import Finding, Report
from .recording import Recording
from .stopped import motionless

FEW = 8  # fewer episodes have no usual one
ODD = 8.0  # standard deviations, estimated by quartiles, from the median; the furthest of 400 real episodes is at 6
RARE = 0.05  # where more episodes than this share are odd, they are another way to do it
LOGARITHM, RANGE = (
    0.15,
    0.05,
)  # least standard deviations, of logarithms and of numbers over their usual range
LITTLE = 0.01  # share of the usual range: ways shorter than this are all alike


def short(store: DemoStore, horizon: int) -> Iterator[Finding]:
    """Episodes shorter than a chunk."""
    lengths = np.diff(store.ends, prepend=0)
    bad, message = (
        lengths < horizon,
        f"with fewer than the {horizon} frames of a chunk; remove them",
    )
    yield from Report(store.ends, TIME).episodes("error" if bad.all() else "warning", bad, message)


def copies(store: DemoStore) -> Iterator[Finding]:
    """Episodes with the actions of another."""
    actions = np.split(store.array(ACTION), store.ends[:-1])
    first: dict[bytes, int] = {}
    same = [first.setdefault(sha256(part.tobytes()).digest(), i) for i, part in enumerate(actions)]
    twice = np.array([earlier < i for i, earlier in enumerate(same)])
    yield from Report(store.ends, ACTION).episodes(
        "warning", twice, "with exactly the actions of an earlier one; remove the copies"
    )


def odd(r: Recording) -> Iterator[Finding]:
    """Episodes unlike the others in length, in how far they move, where they start, or in their mean action."""
    if len(r) < FEW:
        return
    seconds = r.lengths / r.hz
    words = f"much shorter or longer than the usual {np.median(seconds):.3g} s"
    yield from _odd(r, TIME, np.log(seconds), LOGARITHM, words)
    still = motionless(r)  # which is a finding of its own
    for s in [s for s in r.robot if s.smooth]:
        way = r.mean(s.step) * np.median(r.lengths)
        words = "moving it much further or less far than the others in the same time"
        yield from _odd(r, s.key, np.log(way + LITTLE), LOGARITHM, words, still)
    for s in r.streams:
        if s.field.kind == "discrete":
            continue
        if s.commanded:
            words = "with a mean action far from the usual one"
            yield from _odd(r, s.key, r.mean(s.values), RANGE, words, still)
        else:
            yield from _odd(
                r, s.key, s.values[r.starts], RANGE, "starting far from where the others do"
            )


def _odd(
    r: Recording,
    key: str,
    feature: np.ndarray,
    width: float,
    words: str,
    known: np.ndarray | None = None,
) -> Iterator[Finding]:
    feature = feature.reshape(len(r), -1)
    away = abs(feature - np.median(feature, axis=0))
    spread = (
        np.ptp(np.quantile(feature, [0.25, 0.75], axis=0), axis=0) / 1.35
    )  # of a normal distribution: its sigma
    bad = (away > ODD * np.maximum(spread, width)).any(axis=1)
    if known is not None:
        bad &= ~known
    if bad.sum() <= max(2, RARE * len(r)):
        yield from r.report(key).episodes(
            "warning", bad, f"{words}; look at them, and remove what is no demonstration"
        )
