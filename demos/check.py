"""The dataset doctor: what is wrong with demonstrations, where it begins, and what to do about it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Literal

import numpy as np

from ..envs import DataError, Field
from .episode import ACTION, TIME
from .store import DemoStore

Level = Literal["error", "warning"]

LATE, JITTER, RATE = 1.5, 0.2, 0.1  # periods from frame to frame that are a gap; too uneven; the wrong rate
FAR = 10.0  # an outlier lies so many times the usual range beyond it
UNITS = 20.0  # ratio of ranges of one quantity, commanded and measured, that only different units explain


@dataclass(frozen=True)
class Finding:
    """Something wrong. episode, frame: where it begins, counted from 0; None where it concerns the whole."""

    level: Level
    key: str
    message: str
    episode: int | None = None
    frame: int | None = None


def check(store: DemoStore, horizon: int = 16) -> list[Finding]:
    """Everything wrong with a store, errors first; one Finding for each kind of trouble and array.

    horizon: H of the policy to train; shorter episodes are reported.
    """
    if len(store) == 0:
        raise DataError(f"{store.path} holds no episodes yet; record some with `fewstep record`")
    parts = (_times(store), _fields(store), _actions(store), _episodes(store, horizon))
    return sorted((finding for part in parts for finding in part), key=lambda finding: finding.level)


def broken(findings: Iterable[Finding]) -> bool:
    """Whether there is an error, something that would spoil the training."""
    return any(finding.level == "error" for finding in findings)


class _Report:
    """Makes Findings about frames of one array out of masks (N,) that mark them."""

    def __init__(self, store: DemoStore, key: str) -> None:
        self.ends, self.key = store.ends, key

    def __call__(self, level: Level, bad: np.ndarray, message: str) -> Iterator[Finding]:
        frames = np.flatnonzero(bad)
        if not len(frames):
            return
        episodes = np.searchsorted(self.ends, frames, side="right")
        first = int(episodes[0])
        start = int(self.ends[first - 1]) if first else 0
        count = f"{_count(len(frames), 'frame')} in {_count(len(np.unique(episodes)), 'episode')}: "
        yield Finding(level, self.key, count + message, first, int(frames[0]) - start)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _times(store: DemoStore) -> Iterator[Finding]:
    time, hz, report = store.array(TIME), store.spec.policy_hz, _Report(store, TIME)
    finite = np.isfinite(time)
    yield from report("error", ~finite, "the time is NaN or infinite; record again")
    steps = np.diff(np.where(finite, time, 0.0), prepend=0.0) * hz  # (N,) in periods, since the frame before
    usable = finite & np.roll(finite, 1)
    usable[[0, *store.ends[:-1]]] = False  # the first frame of an episode follows none
    yield from report("error", usable & (steps <= 0), "the time does not increase; the recording mixed up frames")
    yield from report(
        "warning", usable & (steps > LATE), f"more than {LATE} periods after the frame before: lost frames"
    )
    yield from _cadence(store, steps, usable)


def _cadence(store: DemoStore, steps: np.ndarray, usable: np.ndarray) -> Iterator[Finding]:
    groups = zip(np.split(steps, store.ends[:-1]), np.split(usable, store.ends[:-1]), strict=True)
    rates = np.array([_typical(step[use]) for step, use in groups])  # (E,) periods per frame
    wrong = np.flatnonzero(abs(rates - 1) > RATE)
    hz = store.spec.policy_hz
    if len(wrong):
        message = (
            f"{_count(len(wrong), 'episode')} not at the {hz:g} Hz that the Spec says, the first at "
            f"{hz / max(rates[wrong[0]], 1e-9):.3g} Hz; resample them, or give the Spec their rate"
        )
        yield Finding("error", TIME, message, int(wrong[0]))
    elif usable.any() and (jitter := float(np.quantile(abs(steps[usable] - 1), 0.9))) > JITTER:
        message = (
            f"a tenth of the frames come {jitter:.0%} of a period or more off; is the recording computer too busy?"
        )
        yield Finding("warning", TIME, message)


def _typical(steps: np.ndarray) -> float:
    """Mean of the middle half: a lost frame does not count, an uneven rhythm averages out."""
    middle = np.sort(steps)[len(steps) // 4 : len(steps) - len(steps) // 4]
    return float(middle.mean()) if len(middle) else 1.0


def _fields(store: DemoStore) -> Iterator[Finding]:
    for key, field in store.spec.observations.items():
        if field.kind == "image":
            yield from _camera(store, key)
        else:
            yield from _numbers(_Report(store, key), store.array(key), field, "warning")


def _actions(store: DemoStore) -> Iterator[Finding]:
    actions = store.array(ACTION)
    for key, part in store.spec.slices().items():
        field, report = store.spec.actions[key], _Report(store, key if key == ACTION else f"{ACTION}.{key}")
        yield from _numbers(report, actions[:, part], field, "error")
        if field.measured_by and store.spec.observations[field.measured_by].size == field.size:
            yield from _units(report.key, actions[:, part], field.measured_by, store.array(field.measured_by))


def _numbers(report: _Report, values: np.ndarray, field: Field, outside: Level) -> Iterator[Finding]:
    values = values.reshape(len(values), field.size)
    finite = ~_any(~np.isfinite(values))
    yield from report("error", ~finite, "NaN or infinite; remove these episodes, or repair the sensor or its driver")
    good = values[finite].astype(float)
    if len(good) < 2:
        return
    if len(still := np.flatnonzero(np.ptp(good, 0) == 0)):
        message = f"elements {still.tolist()} never change; if that is not meant so, check that they are connected"
        yield Finding("warning", report.key, message)
    bad = np.zeros(len(values), bool)
    for test, level, message in _tests(field, outside):
        bad[finite] = test(good)
        yield from report(level, bad, message)


def _tests(field: Field, outside: Level) -> Iterator[tuple[Callable[[np.ndarray], np.ndarray], Level, str]]:
    """What one kind of field is tested for: from values (N, size) to a mask (N,) of bad frames."""
    if field.kind == "quaternion":
        yield _unnormalised, "error", "the norm of a quaternion is not 1; normalise it, and check its order w x y z"
    if field.kind == "angle":
        yield _degrees, "warning", "more than two full turns; an angle is in rad, these look like degrees"
    if field.kind == "linear":
        yield _outliers, "warning", "far outside the usual range: glitches, or other units in some episodes"
    if field.low or field.high:
        message = f"outside the bounds of the Spec, {field.low} to {field.high} {field.unit}: correct either of the two"
        yield partial(_outside, field), outside, message


def _any(mask: np.ndarray) -> np.ndarray:
    return np.asarray(mask.any(axis=1))  # (N, size) -> (N,)


def _unnormalised(values: np.ndarray) -> np.ndarray:
    return abs(np.linalg.norm(values, axis=1) - 1) > 0.01


def _degrees(values: np.ndarray) -> np.ndarray:
    return _any(abs(values) > 4 * np.pi)


def _outliers(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    reach = np.where(high > low, FAR * (high - low), np.inf)  # an element that hardly ever moves has no usual range
    return _any((values < low - reach) | (values > high + reach))


def _outside(field: Field, values: np.ndarray) -> np.ndarray:
    low = np.array(field.low or [-np.inf] * field.size)
    high = np.array(field.high or [np.inf] * field.size)
    slack = 1e-5 * np.maximum(abs(low), abs(high))  # float32 rounds
    return _any((values < low - slack) | (values > high + slack))


def _units(key: str, commanded: np.ndarray, observation: str, measured: np.ndarray) -> Iterator[Finding]:
    both = np.stack([commanded, measured.reshape(commanded.shape)]).astype(float)  # (2, N, size)
    both = both[:, np.isfinite(both).all(axis=(0, 2))]
    ranges = np.ptp(np.quantile(both, [0.01, 0.99], axis=1), axis=0) if both.size else np.zeros((2, 1))
    if not (ranges > 0).all():
        return
    ratio = float(np.median(ranges[0] / ranges[1]))
    if not 1 / UNITS < ratio < UNITS:
        message = (
            f"ranges over {ratio:.3g} times what {observation!r} does, which should measure the same; other units?"
        )
        yield Finding("warning", key, message)


def _camera(store: DemoStore, key: str) -> Iterator[Finding]:
    """Compares the first and the last picture of each episode: reading them all would take minutes."""
    starts = [0, *store.ends[:-1].tolist()]
    pairs = [(store.array(key, a, a + 1), store.array(key, b - 1, b)) for a, b in zip(starts, store.ends, strict=True)]
    still = [i for i, (first, last) in enumerate(pairs) if np.array_equal(first, last)]
    if still:
        message = f"{_count(len(still), 'episode')} with one picture at start and end; check that the camera runs"
        yield Finding("warning", key, message, still[0])


def _episodes(store: DemoStore, horizon: int) -> Iterator[Finding]:
    lengths = np.diff(store.ends, prepend=0)
    if len(short := np.flatnonzero(lengths < horizon)):
        message = f"{_count(len(short), 'episode')} with fewer than the {horizon} frames of a chunk; remove them"
        yield Finding("warning" if len(short) < len(store) else "error", TIME, message, int(short[0]))
    actions = np.split(store.array(ACTION), store.ends[:-1])
    first: dict[bytes, int] = {}
    same = [first.setdefault(sha256(part.tobytes()).digest(), i) for i, part in enumerate(actions)]
    if twice := [i for i, earlier in enumerate(same) if earlier < i]:
        message = f"{_count(len(twice), 'episode')} with exactly the actions of an earlier one; remove the copies"
        yield Finding("warning", ACTION, message, twice[0])
