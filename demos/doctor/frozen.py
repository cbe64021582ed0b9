"""What stands still, bit by bit, while others move: duplicated frames, frozen streams, slow sensors."""

from collections.abc import Iterator

import numpy as np

from ..episode import TIME
from .findings import Finding
from .recording import COARSE, Recording, Stream, least, moves, usual

ALIVE = (
    0.02  # share of repeated frames in the usual episode, above which an array is one that rests
)
LONG = 5  # so many repeats in a row need no jump after them to be a fault
FOLLOWS = 0.2  # share of changes that follow another at once, below which a sensor is slow
SLOW, CHANGES = 10, 20  # frames: a slow sensor changes within so many; changes: fewer tell nothing
STUCK = "repeats the frame before, bit by bit, while others move: a frozen sensor or a stopped robot; cut these out"


def frozen(r: Recording) -> Iterator[Finding]:
    """Frames that repeat the one before in every measurement, or in one; sensors slower than the recording."""
    every, nothing = _total(r, r.observed), np.zeros(r.frames, bool)
    slow = {s: slowness(r, s.step, least(s.step)) for s in r.observed if s.field.kind != "discrete"}
    stuck = {s: _stuck(r, s) for s, every_n in slow.items() if not every_n}
    doubled = (every == 0) & np.logical_or.reduce([_all_stuck(r, every), *stuck.values()])
    message = "every measurement repeats the frame before while the action moves: duplicated frames; remove them"
    yield from r.report(TIME)("warning", doubled, message)
    for s, every_n in slow.items():
        if every_n:
            yield Finding("warning", s.key, slow_words(r.hz, every_n))
        yield from r.report(s.key)("warning", stuck.get(s, nothing) & ~doubled, STUCK)


def _stuck(r: Recording, s: Stream) -> np.ndarray:
    """(N,) frames in which a stream is frozen."""
    own = [c for c in r.commanded if c.field.measured_by == s.key]
    led = own and s.smooth and s.field.size > 1  # a gripper may be held by what it grasps
    if not led and not rare(r, s.step):
        return np.zeros(r.frames, bool)
    others = own if led else [*r.commanded, *(o for o in r.observed if o is not s and o.smooth)]
    fast = _fast(s.step) if s.smooth else 0.0  # what is noise is never still
    return stalls(r, s.step == 0, moves(s.values, r.starts), _total(r, others), fast)


def _all_stuck(r: Recording, every: np.ndarray) -> np.ndarray:
    """(N,) frames in which all streams are frozen together, each of which may rest alone."""
    smooth = [s for s in r.observed if s.smooth]
    if not smooth or not rare(r, every):
        return np.zeros(r.frames, bool)
    moved = np.hstack([moves(s.values, r.starts) for s in smooth])
    fast = _fast(np.linalg.norm(moved, axis=1))
    return stalls(r, every == 0, moved, _total(r, r.commanded), fast)


def _fast(step: np.ndarray) -> float:
    return max(usual(step) / 2, COARSE * least(step))


def _total(r: Recording, streams: list[Stream]) -> np.ndarray:
    return np.sum([s.step for s in streams], axis=0) if streams else np.zeros(r.frames)


def rare(r: Recording, step: np.ndarray) -> bool:
    """Whether exact repeats are unusual for something with these steps (N,)."""
    return bool(np.median(r.mean(r.follows() & (step == 0))) <= ALIVE)


def stalls(
    r: Recording,
    repeats: np.ndarray,
    moved: np.ndarray,
    others: np.ndarray,
    fast: float,
    slow: float | None = None,
) -> np.ndarray:
    """(N,) repeats of something that stands still at once, out of its motion, and then goes on, while others move.

    repeats: (N,) frames that repeat the one before; moved: (N, D) change from the frame before; others: (N,) how far
    they step; fast: the least step of a motion; slow: the least step before a long stall, by default the same.
    """
    out, step = np.zeros(r.frames, bool), np.linalg.norm(moved, axis=1)
    first, last = (runs := r.runs(r.follows() & repeats)).T
    way, long = np.cumsum(others), last - first >= LONG
    went_on = way[last - 1] - way[first - 1] > usual(others) / 4 * (last - first)
    before, after = moved[first - 1], np.vstack([moved, 0 * moved[:1]])[last]
    straight = (before * after).sum(
        axis=1
    ) > fast**2  # at a turning point a coarse sensor may repeat itself
    abrupt = straight & (step[first - 1] > fast) | long & (
        step[first - 1] > (fast if slow is None else slow)
    )
    for start, stop in runs[went_on & abrupt]:
        out[start:stop] = True
    return out


def slowness(r: Recording, step: np.ndarray, resolution: float = 0.0) -> float:
    """Mean frames from change to change of a sensor that is slower than the recording; 0 where it is not.

    resolution: the least step that it can show.
    """
    changes = r.follows() & (step > 0)
    frames = np.flatnonzero(changes)
    gaps = np.diff(frames)[
        np.diff(np.searchsorted(r.ends, frames, side="right")) == 0
    ]  # within an episode
    close = gaps[gaps <= SLOW]
    if (
        changes.sum() < CHANGES
        or len(close) < changes.sum() / 2
        or np.median(step[changes]) < COARSE * resolution
    ):
        return 0.0
    return float(close.mean()) if (gaps == 1).mean() < FOLLOWS else 0.0


def slow_words(hz: float, every_n: float) -> str:
    """What to say of a slow sensor."""
    return (
        f"changes only every {every_n:.2g} frames: the sensor gives about {hz / every_n:.3g} Hz and the Spec says "
        f"{hz:g} Hz; record at its rate, or speed it up"
    )
