"""Motion that stops or jumps: idle stretches, lost frames, streams that slip."""

from collections.abc import Iterator

import numpy as np

from ..episode import TIME
from .findings import Finding
from .recording import Recording
from .signals import Signal, usual_step

STILL = 0.005  # share of the usual range that a stretch at rest does not leave
IDLE_SECONDS = 1.0  # [s] its least length
LEAP = 2.0  # times the longest step of the frames around it: hints at a jump
JUMP = 2.5  # is one
LONG = 0.95  # quantile of the steps beyond which one counts as long
TURN = 0.1  # share by which a jump may miss a full turn
FULL_TURNS = (2 * np.pi, 360.0)  # [rad], [degrees]
GAP = 1.5  # periods between time stamps that own up to lost frames, which need no second Finding

LOST = (
    "all that moves jumps at once while the clock goes on: lost frames under made-up times; split"
    " the episodes there, and record the times at which the sensors were read"
)
SLIPPED = (
    "jumps while others move on: a sensor that slipped, or tracking that lost its object;"
    " repair or remove these"
)
TURNED = "jumps by a full turn: make it a field of kind 'angle', in rad, or unwrap it"


def find_idle(recording: Recording) -> Iterator[Finding]:
    """Find stretches in which neither state nor action moves."""
    window = round(IDLE_SECONDS * recording.hz) + 1
    smooth = [signal for signal in recording.observed if signal.smooth]
    if recording.frames < window or not smooth:
        return
    moving = [signal for signal in recording.signals if signal.smooth or signal.commanded]
    reach = np.max([_window_reach(signal.values, window) for signal in moving], axis=0)
    first = np.arange(len(reach))
    ends = np.repeat(recording.ends, recording.lengths)[: len(reach)]
    begins = np.flatnonzero((reach < STILL) & (first + window <= ends))
    # a window begins at some frames, and is over at others: in between are the frames at rest
    edges = np.bincount(begins, minlength=recording.frames + 1)
    edges -= np.bincount(begins + window, minlength=recording.frames + 1)
    rest = np.cumsum(edges[:-1]) > 0
    words = _idle_words(recording, recording.find_runs(rest))
    yield from recording.report(TIME)("warning", rest, words)


def _idle_words(recording: Recording, runs: np.ndarray) -> str:
    start = np.isin(runs[:, 0], recording.starts)
    end = np.isin(runs[:, 1], recording.ends)
    longest = np.diff(runs).max(initial=0) / recording.hz
    return (
        f"neither state nor action moves for {IDLE_SECONDS:g} s or more"
        f" (at the start: {start.sum()}, at the end: {(end & ~start).sum()},"
        f" between: {(~start & ~end).sum()}; the longest {longest:.1f} s); a policy learns to stop"
        " there: trim them, unless the task is to wait"
    )


def _window_reach(values: np.ndarray, window: int) -> np.ndarray:
    """Return how far values (N, D) move in the `window` frames from each on, (N - window + 1,).

    The window is doubled until it is long enough.
    """
    high = values
    low = values
    done = 1
    while done < window:
        more = min(done, window - done)
        high = np.maximum(high[:-more], high[more:])
        low = np.minimum(low[:-more], low[more:])
        done += more
    return (high - low).max(axis=1)


def find_jumps(recording: Recording) -> Iterator[Finding]:
    """Find steps much longer than those around them, which a robot with a mass cannot make.

    Where the clock owns up to lost frames, there is none.
    """
    clocked = np.diff(recording.time, prepend=recording.time[:1]) * recording.hz < GAP
    turned = {}
    jumped = {}
    going = np.zeros(recording.frames, int)
    leaping = np.zeros(recording.frames, int)
    for signal in recording.signals:
        if not signal.smooth:
            continue
        farther = _times_around(recording, signal.step) * clocked
        leaps = farther * (np.roll(signal.step, 1) > 0)  # not after frozen frames
        moving = signal.step > usual_step(signal.step)
        going += moving
        leaping += moving & (leaps > LEAP)
        if not signal.commanded:
            turn = (farther > JUMP) & _mark_turns(signal)
            turned[signal.key] = turn
            jumped[signal.key] = (leaps > JUMP) & (signal.step > _long_step(signal.step)) & ~turn
    any_jump = recording.no_frames()
    for jump in jumped.values():
        any_jump = any_jump | jump
    lost = any_jump & (leaping > going / 2)
    yield from recording.report(TIME)("warning", lost, LOST)
    for key, jump in jumped.items():
        yield from recording.report(key)("warning", turned[key], TURNED)
        yield from recording.report(key)("warning", jump & ~lost, SLIPPED)


def _times_around(recording: Recording, step: np.ndarray) -> np.ndarray:
    """Return each step over the longest of the two before and the two after it, (N,).

    It is 0 at the ends of episodes and at rest.
    """
    frames = len(step)
    padded = np.pad(step, 2)
    neighbours = [padded[shift : shift + frames] for shift in (0, 1, 3, 4)]
    around = np.max(neighbours, axis=0)
    follows = recording.follows()
    inner = follows & np.roll(follows, 1) & np.roll(follows, -1) & (around > 0)
    return np.divide(step, around, out=np.zeros(frames), where=inner)


def _long_step(step: np.ndarray) -> float:
    return float(np.quantile(step[step > 0], LONG)) if step.any() else 0.0


def _mark_turns(signal: Signal) -> np.ndarray:
    """Return where the element that moves most steps by a full turn, (N,)."""
    if signal.field.kind != "linear" or signal.field.unit not in ("rad", ""):
        return np.zeros(len(signal.raw), bool)
    moved = abs(np.diff(signal.values, axis=0, prepend=signal.values[:1]))
    raw_moved = abs(np.diff(signal.raw, axis=0, prepend=signal.raw[:1]))
    step = np.take_along_axis(raw_moved, moved.argmax(axis=1)[:, None], axis=1)
    return np.asarray((abs(step / list(FULL_TURNS) - 1) < TURN).any(axis=1))
