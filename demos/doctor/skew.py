"""Whether pictures and states were taken at the same time."""

from collections.abc import Iterator

import numpy as np

from .findings import Finding
from .recording import Recording

LONGEST_SECONDS = 0.3  # [s] the longest skew that is looked for
LEAST_FRAMES = 4  # and its bounds in frames
MOST_FRAMES = 15
APART = 2  # frames of skew that are reported: one may be rounding
SURE = 0.5  # share of the change of the pictures that the motion has to explain
CLEAR = 1.5  # times less has to stay unexplained with the skew than without
ENOUGH = 20  # frames for each moving number, fewer would be explained by chance


def find_skew(recording: Recording, key: str, change: np.ndarray) -> Iterator[Finding]:
    """Find the shift at which the motion explains how much the pictures change.

    change: (N,) of the pictures of `key`, from frame to frame.
    """
    longest = int(np.clip(round(LONGEST_SECONDS * recording.hz), LEAST_FRAMES, MOST_FRAMES))
    episodes = np.flatnonzero(recording.lengths > 4 * longest)
    part, frames = recording.cut(episodes, longest + 1, longest)
    speed = _centre(part, _speeds(recording)[frames])
    if part.frames < ENOUGH * max(speed.shape[1], 1) or not speed.any():
        return
    seen = []
    fits = []
    unexplained = []
    for shift in range(-longest, longest + 1):
        shifted = _centre(part, np.sqrt(change[frames + shift]))
        fit = np.linalg.lstsq(speed, shifted, rcond=1e-3)[0]
        rest = np.mean((shifted - speed @ fit) ** 2)
        seen.append(shifted)
        fits.append(fit)
        unexplained.append(rest / max(np.mean(shifted**2), 1e-12))
    best = int(np.argmin(unexplained))
    if unexplained[longest] <= CLEAR * unexplained[best]:
        best = longest
    if unexplained[best] > 1 - SURE:
        return
    expected = speed @ fits[best]
    # of each episode alone, (2 longest + 1, episodes)
    alone = np.array([_unexplained(part, shifted, expected) for shifted in seen])
    least = alone.min(axis=0)
    shift = alone.argmin(axis=0) - longest
    bad = (abs(shift) >= APART) & (least < 1 - SURE) & (alone[longest] > CLEAR * least)
    mask = recording.mark_episodes(episodes[bad])
    yield from recording.report(key).episodes("warning", mask, _words(shift[bad], recording.hz))


def _speeds(recording: Recording) -> np.ndarray:
    """Return how fast each number moves, (N, D).

    It is the root, so that fast ones do not drown the others.
    """
    moving = [signal for signal in recording.observed if signal.smooth]
    if not moving:
        moving = [signal for signal in recording.commanded if signal.smooth]
    columns = [np.zeros((recording.frames, 0))]
    for signal in moving:
        columns.append(signal.values)
    values = np.hstack(columns)
    speed = np.sqrt(abs(np.diff(values, axis=0, prepend=values[:1])))
    return speed[:, speed.any(axis=0)]


def _centre(part: Recording, values: np.ndarray) -> np.ndarray:
    return values - np.repeat(part.episode_means(values), part.lengths, axis=0)


def _unexplained(part: Recording, seen: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the share of the variance that the best multiple of what is expected leaves, (E,)."""
    both = part.episode_means(seen * expected)
    own = part.episode_means(seen**2)
    other = part.episode_means(expected**2)
    return 1 - np.maximum(both, 0) ** 2 / np.maximum(own * other, 1e-24)


def _words(shift: np.ndarray, hz: float) -> str:
    if not len(shift):
        return ""
    frames = float(np.median(shift))
    side = "late" if frames > 0 else "early"
    return (
        f"in which the pictures come {side} against the state, by about {abs(frames):g} frames"
        f" ({abs(frames) / hz:.2g} s); shift one against the other, and do the same when the"
        " policy runs"
    )
