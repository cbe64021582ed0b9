"""Robots that do not do what they are told: stopped for a while, or nearly still all the time."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..episode import TIME
from .findings import Finding
from .recording import Recording
from .signals import Signal, scale_values

STILL = 0.005  # share of the usual range that a robot at rest does not leave; encoders tremble less
STOP_SECONDS = 1.0  # [s] shorter stops are pauses of a servo, of a grasp, or of a slow start
LAG_SECONDS = 0.5  # [s] by which a robot may follow its commands, and so rest while they move
COMMANDED = 0.1  # share of the usual range: commands that move less may press against something
STEADY = 0.5  # share of the frames in which commands move that go on, and are no switches
MOTIONLESS = 0.05  # share of the usual range that an episode has to move to show anything

STOPPED = (
    "rests for {seconds:.1f} s at most while its commands go on: a protective or emergency stop, or"
    " a robot that was not enabled; cut these frames out, or remove the episodes"
)
HARDLY_MOVED = (
    f"in which the robot moves less than {MOTIONLESS:.0%} of its usual range; remove what is no"
    " demonstration"
)


def find_stopped(recording: Recording) -> Iterator[Finding]:
    """Find commands that go on while what measures them stands still.

    Where no command is known to be measured, all that is observed has to stand still. Nothing is
    said of grippers, which stand still when they grasp.
    """
    for commanded in recording.commanded:
        field = commanded.field
        if field.size == 1 or field.relative or field.kind not in ("linear", "angle"):
            continue
        measured = recording.measuring(commanded)
        if not measured:
            continue
        stops = find_stops(recording, commanded, measured)
        longest = max((stop - start for start, stop in stops), default=0) / recording.hz
        mask = recording.no_frames()
        for start, stop in stops:
            mask[start:stop] = True
        key = measured[0].key if field.measured_by else commanded.key
        yield from recording.report(key)("warning", mask, STOPPED.format(seconds=longest))


def find_stops(
    recording: Recording, commanded: Signal, measured: Sequence[Signal]
) -> list[tuple[int, int]]:
    """Return the first frame, and the frame after the last, of every stop.

    A lag is no stop: a command that begins to move is followed up to LAG_SECONDS later, so what
    moves only at the end of a rest is passed over.
    """
    lag = round(LAG_SECONDS * recording.hz)
    told = commanded.values
    if commanded.field.measured_by:  # both in units of the range over which the robot moves
        told = scale_values(
            commanded.field, commanded.raw.astype(float), measured[0].raw.astype(float)
        )
    stops = []
    for start, stop in find_rests(recording, np.hstack([signal.values for signal in measured])):
        due = slice(start, max(stop - lag, start + 1))
        moved = np.ptp(told[due], axis=0).max()
        # a switch among the commands moves once; where nothing says what measures it, it may be one
        goes_on = commanded.field.measured_by or np.mean(commanded.step[due] > 0) > STEADY
        if moved > COMMANDED and goes_on:
            stops.append((start, stop))
    return stops


def find_rests(recording: Recording, values: np.ndarray) -> list[tuple[int, int]]:
    """Return where values (N, D) stay within STILL for STOP_SECONDS or more.

    That is the first frame, and the frame after the last, of each.
    """
    window = round(STOP_SECONDS * recording.hz) + 1
    rests = []
    for first, last in zip(recording.starts.tolist(), recording.ends.tolist(), strict=True):
        start = first
        while start + window <= last:
            stop = _rest_end(values, start, start + window, last)
            if stop:
                rests.append((start, stop))
                start = stop
            else:
                start += 1
    return rests


def _rest_end(values: np.ndarray, start: int, least: int, last: int) -> int:
    """Return the frame after the end of a rest from `start` on, 0 where it ends before `least`."""
    away = abs(values[start:last] - values[start]).max(axis=1) > STILL
    frames = np.flatnonzero(away)
    stop = last if not len(frames) else start + int(frames[0])
    return stop if stop >= least else 0


def mark_motionless(recording: Recording) -> np.ndarray:
    """Return the episodes in which the robot hardly moves, (E,) True where it does."""
    moving = [signal for signal in recording.robot if not signal.commanded]
    reach = np.zeros(len(recording))
    for signal in moving or recording.robot:
        reach = np.maximum(reach, reach_of_episodes(recording, signal.values))
    return reach < MOTIONLESS


def reach_of_episodes(recording: Recording, values: np.ndarray) -> np.ndarray:
    """Return how far the element of values (N, D) that moves most goes in each episode, (E,)."""
    highest = np.maximum.reduceat(values, recording.starts, axis=0)
    lowest = np.minimum.reduceat(values, recording.starts, axis=0)
    return (highest - lowest).max(axis=1)


def find_motionless(recording: Recording) -> Iterator[Finding]:
    """Find episodes nearly without motion."""
    if recording.robot:
        yield from recording.report(TIME).episodes(
            "warning", mark_motionless(recording), HARDLY_MOVED
        )
