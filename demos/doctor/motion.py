"""Motion that stops or jumps: idle stretches, lost frames, streams that slip."""

from collections.abc import Iterator

import numpy as np

from ..episode import TIME
from .findings import Finding
from .recording import Recording, Stream, usual

STILL, IDLE = (
    0.005,
    1.0,
)  # share of the usual range that a stretch at rest does not leave; its least length [s]
LEAP, JUMP = 2.0, 2.5  # times the longest step of the frames around it: hints at a jump; is one
LONG = 0.95  # quantile of the steps beyond which one counts as long
TURN = 0.1  # share by which a jump may miss a full turn
GAP = 1.5  # periods between time stamps that own up to lost frames, which need no second Finding

LOST = (
    "all that moves jumps at once while the clock goes on: lost frames under made-up times; split the episodes there, "
    "and record the times at which the sensors were read"
)
SLIPPED = "jumps while others move on: a sensor that slipped, or tracking that lost its object; repair or remove these"
TURNED = "jumps by a full turn: make it a field of kind 'angle', in rad, or unwrap it"


def idle(r: Recording) -> Iterator[Finding]:
    """Stretches in which neither state nor action moves."""
    moving = [s.values for s in r.streams if s.smooth or s.commanded]
    window = round(IDLE * r.hz) + 1
    if r.frames < window or not any(s.smooth for s in r.observed):
        return
    still = np.max([_sweep(values, window) for values in moving], axis=0) < STILL
    last = np.repeat(r.ends, r.ends - r.starts)[: len(still)]
    first = np.flatnonzero(still & (np.arange(len(still)) + window <= last))
    edges = np.bincount(first, minlength=r.frames + 1) - np.bincount(
        first + window, minlength=r.frames + 1
    )
    rest = np.cumsum(edges[:-1]) > 0
    yield from r.report(TIME)("warning", rest, _places(r, r.runs(rest)))


def _places(r: Recording, runs: np.ndarray) -> str:
    start, end = np.isin(runs[:, 0], r.starts), np.isin(runs[:, 1], r.ends)
    places = f"at the start: {start.sum()}, at the end: {(end & ~start).sum()}, between: {(~start & ~end).sum()}"
    longest = np.diff(runs).max(initial=0) / r.hz
    return (
        f"neither state nor action moves for {IDLE:g} s or more ({places}; the longest {longest:.1f} s); a policy "
        "learns to stop there: trim them, unless the task is to wait"
    )


def _sweep(values: np.ndarray, window: int) -> np.ndarray:
    """How far any column of values (N, D) moves in the `window` frames from each on, (N - window + 1,)."""
    high, low, done = values, values, 1
    while done < window:
        more = min(done, window - done)
        high, low = np.maximum(high[:-more], high[more:]), np.minimum(low[:-more], low[more:])
        done += more
    return (high - low).max(axis=1)


def jumps(r: Recording) -> Iterator[Finding]:
    """Steps much longer than those around them though the clock goes on, which a robot with a mass cannot make."""
    moving = [s for s in r.streams if s.smooth]
    clocked = np.diff(r.time, prepend=r.time[:1]) * r.hz < GAP
    farther = {s: _times_around(r, s.step) * clocked for s in moving}
    turns = {s: (farther[s] > JUMP) & _turns(s) for s in moving if not s.commanded}
    leaps = {
        s: times * (np.roll(s.step, 1) > 0) for s, times in farther.items()
    }  # not after frozen frames
    jumping = {s: (leaps[s] > JUMP) & (s.step > _long(s.step)) & ~turn for s, turn in turns.items()}
    going = np.sum([s.step > usual(s.step) for s in moving], axis=0)
    leaping = np.sum([(s.step > usual(s.step)) & (leaps[s] > LEAP) for s in moving], axis=0)
    lost = np.logical_or.reduce([np.zeros(r.frames, bool), *jumping.values()]) & (
        leaping > going / 2
    )
    yield from r.report(TIME)("warning", lost, LOST)
    for s, bad in jumping.items():
        yield from r.report(s.key)("warning", turns[s], TURNED)
        yield from r.report(s.key)("warning", bad & ~lost, SLIPPED)


def _times_around(r: Recording, step: np.ndarray) -> np.ndarray:
    """(N,) each step over the longest of the two before and the two after it; 0 at the ends of episodes and at rest."""
    n, padded, follows = len(step), np.pad(step, 2), r.follows()
    around = np.max([padded[i : i + n] for i in (0, 1, 3, 4)], axis=0)
    inner = follows & np.roll(follows, 1) & np.roll(follows, -1) & (around > 0)
    return np.divide(step, around, out=np.zeros(n), where=inner)


def _long(step: np.ndarray) -> float:
    return float(np.quantile(step[step > 0], LONG)) if step.any() else 0.0


def _turns(s: Stream) -> np.ndarray:
    """(N,) where the element that moves most steps by a full turn."""
    if s.field.kind != "linear" or s.field.unit not in ("rad", ""):
        return np.zeros(len(s.raw), bool)
    most = abs(np.diff(s.values, axis=0, prepend=s.values[:1])).argmax(axis=1)[:, None]
    step = np.take_along_axis(abs(np.diff(s.raw, axis=0, prepend=s.raw[:1])), most, axis=1)
    return np.asarray((abs(step / [2 * np.pi, 360.0] - 1) < TURN).any(axis=1))
