"""Whether pictures and states were taken at the same time."""

from collections.abc import Iterator

import numpy as np

from .findings import Finding
from .recording import Recording

REACH, LEAST, MOST = 0.3, 4, 15  # longest skew that is looked for [s]; and its bounds in frames
APART = 2  # frames of skew that are reported: one may be rounding
SURE = 0.5  # share of the change of the pictures that the motion has to explain
CLEAR = 1.5  # times less has to stay unexplained with the skew than without
ENOUGH = 20  # frames for each moving number, fewer would be explained by chance


def skew(r: Recording, key: str, change: np.ndarray) -> Iterator[Finding]:
    """Looks for the shift at which the motion explains how much the pictures change, (N,), from frame to frame."""
    reach = int(np.clip(round(REACH * r.hz), LEAST, MOST))
    episodes = np.flatnonzero(r.lengths > 4 * reach)
    part, frames = r.part(episodes, reach + 1, reach)
    speed = _centred(part, _speeds(r)[frames])
    if part.frames < ENOUGH * max(speed.shape[1], 1) or not speed.any():
        return
    seen = [_centred(part, np.sqrt(change[frames + shift])) for shift in range(-reach, reach + 1)]
    fits = [np.linalg.lstsq(speed, s, rcond=1e-3)[0] for s in seen]
    rest = np.array(
        [
            np.mean((s - speed @ w) ** 2) / max(np.mean(s**2), 1e-12)
            for s, w in zip(seen, fits, strict=True)
        ]
    )
    best = int(rest.argmin()) if rest[reach] > CLEAR * rest.min() else reach
    if rest[best] > 1 - SURE:
        return
    alone = np.array(
        [_unexplained(part, s, speed @ fits[best]) for s in seen]
    )  # (2 reach + 1, episodes)
    shift = alone.argmin(axis=0) - reach
    bad = (
        (abs(shift) >= APART)
        & (alone.min(axis=0) < 1 - SURE)
        & (alone[reach] > CLEAR * alone.min(axis=0))
    )
    yield from r.report(key).episodes("warning", r.marked(episodes[bad]), _words(shift[bad], r.hz))


def _speeds(r: Recording) -> np.ndarray:
    """(N, D) how fast each number moves; the root, so that fast ones do not drown the others."""
    moving = [s for s in r.observed if s.smooth] or [s for s in r.commanded if s.smooth]
    values = np.hstack([np.zeros((r.frames, 0)), *(s.values for s in moving)])
    speed = np.sqrt(abs(np.diff(values, axis=0, prepend=values[:1])))
    return speed[:, speed.any(axis=0)]


def _centred(part: Recording, values: np.ndarray) -> np.ndarray:
    return values - np.repeat(part.mean(values), part.lengths, axis=0)


def _unexplained(part: Recording, seen: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """(E,) share of the variance of each episode that the best multiple of what is expected leaves."""
    both, own, other = (part.mean(x) for x in (seen * expected, seen**2, expected**2))
    return 1 - np.maximum(both, 0) ** 2 / np.maximum(own * other, 1e-24)


def _words(shift: np.ndarray, hz: float) -> str:
    if not len(shift):
        return ""
    n = float(np.median(shift))
    side = "late" if n > 0 else "early"
    return (
        f"in which the pictures come {side} against the state, by about {abs(n):g} frames ({abs(n) / hz:.2g} s); "
        "shift one against the other, and do the same when the policy runs"
    )
