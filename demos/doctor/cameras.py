"""Cameras: pictures that show nothing, stand still, come too seldom, or at another time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..storage.images import EncodedImages
from ..store import DemoStore
from .findings import Finding, Report, count
from .frozen import change_period, mark_stalls, rarely_repeats, slow_words
from .recording import Recording
from .signals import usual_step
from .skew import find_skew

DARK = 3  # of 255; a picture of 0 and 1 may have that much where it was compressed
PLAIN = 3.0  # standard deviation of the pixels of a picture that shows nothing, of 255
BLACK = 24  # mean pixels of a plain picture up to which it is called so
WHITE = 232  # and from which on
LOOK = 2**29  # bytes of pictures per camera that are looked at
BLOCK = 2**26  # bytes of pictures that are read at once
GRID = 64  # pixels in a row, at most, that are compared
TINY = 1e-6  # a change that the compared pixels do not show
UNLIT = f"no pixel is above {DARK}: black, or stored as 0 to 1 and not 0 to 255"
SAME_ENDS = "with one picture at start and end; check that the camera runs"
FROZEN = (
    "shows the picture before again while the robot moves: a frozen camera; cut these frames out"
)


def check_cameras(store: DemoStore, recording: Recording) -> Iterator[Finding]:
    """Find what is wrong with the pictures of a store.

    It looks at the ends of all episodes, and at some whole episodes of a recording.
    """
    for key in store.spec.images:
        still, findings = _check_ends(store, key)
        yield from findings
        if len(recording):
            yield from _check_films(store, key, recording, still)


@dataclass(frozen=True)
class Ends:
    """The first and the last picture of an episode.

    same: whether they are one; contrast, mean: of the plainer one; highest: pixel of both.
    """

    same: bool
    contrast: float
    mean: float
    highest: float

    @property
    def colour(self) -> str:
        """Return what a plain picture is called."""
        if self.mean < BLACK:
            return "black"
        return "white" if self.mean > WHITE else "neither black nor white"


def _check_ends(store: DemoStore, key: str) -> tuple[np.ndarray, list[Finding]]:
    """Return in which episodes the first and the last picture are one, (E,), and what is wrong.

    Reading all pictures would take minutes.
    """
    pictures = store.pictures(key)
    report = Report(store.ends, key)
    seen = []
    start = 0
    for end in store.ends.tolist():
        seen.append(_compare_ends(pictures[start], pictures[end - 1]))
        start = end
    still = np.array([ends.same for ends in seen])
    if max(ends.highest for ends in seen) <= DARK:
        return still, [Finding("error", key, UNLIT)]
    plain = np.array([ends.contrast < PLAIN for ends in seen])
    words = (
        f"with a picture of one colour, {seen[plain.argmax()].colour}: check the lens, the light"
        " and the camera's start"
    )
    findings = [
        *report.episodes("error" if plain.all() else "warning", plain, words),
        *report.episodes("warning", still & ~plain, SAME_ENDS),
    ]
    return still, findings


def _compare_ends(first: np.ndarray, last: np.ndarray) -> Ends:
    plainer = min((first, last), key=_contrast)
    return Ends(
        same=np.array_equal(first, last),
        contrast=_contrast(plainer),
        mean=float(plainer.mean()),
        highest=float(max(first.max(), last.max())),
    )


def _contrast(picture: np.ndarray) -> float:
    return float(picture.std(axis=(0, 1)).max())


def _check_films(
    store: DemoStore, key: str, recording: Recording, still: np.ndarray
) -> Iterator[Finding]:
    """Follow the pictures of as many episodes, spread over all, as can be read in seconds."""
    running = np.flatnonzero(~still[recording.numbers])
    if not len(running):
        return
    pictures = store.pictures(key)
    usual_bytes = int(np.prod(pictures.shape[1:])) * int(np.median(recording.lengths))
    most = int(np.clip(LOOK // usual_bytes, 1, len(running)))
    chosen = running[np.linspace(0, len(running) - 1, most).round().astype(int)]
    part, _ = recording.cut(chosen, 0, 0)
    changes = []
    ends = store.ends[part.numbers]
    for start, stop in zip((ends - part.lengths).tolist(), ends.tolist(), strict=True):
        changes.append(_picture_changes(pictures, start, stop))
    looked = "" if most == len(running) else f" (looked at {count(most, 'episode')})"
    for finding in _judge_changes(part, key, np.concatenate(changes)):
        yield replace(finding, message=finding.message + looked)


def _picture_changes(pictures: EncodedImages, start: int, stop: int) -> np.ndarray:
    """Return the mean change of the pixels from the picture before, (stop - start,).

    It is 0 only where two are the same.
    """
    _, height, width, _ = pictures.shape
    spacing = -(-max(height, width) // GRID)
    block = max(BLOCK // (height * width * 3), 1)
    changes = [np.zeros(1)]
    for first in range(start, stop - 1, block):
        some = np.asarray(pictures[first : min(first + block + 1, stop)])
        compared = some[:, ::spacing, ::spacing].astype(np.int16)
        change = abs(np.diff(compared, axis=0)).mean(axis=(1, 2, 3))
        differs = (some[1:] != some[:-1]).any(axis=(1, 2, 3))
        changes.append(np.maximum(change, TINY * differs))
    return np.concatenate(changes)


def _judge_changes(part: Recording, key: str, change: np.ndarray) -> Iterator[Finding]:
    period = change_period(part, change)
    if period:
        yield Finding("warning", key, slow_words(part.hz, period))
    elif rarely_repeats(part, change):
        yield from part.report(key)("warning", _mark_frozen(part, change), FROZEN)
    yield from find_skew(part, key, change)


def _mark_frozen(part: Recording, change: np.ndarray) -> np.ndarray:
    smooth = [signal for signal in part.observed if signal.smooth]
    usual = usual_step(change)
    moved = change[:, None].copy()
    moved[part.starts] = usual  # a camera may hang from the start
    others = part.total_step(smooth)
    return mark_stalls(part, change == 0, moved, others, fast=usual / 2, slow=0.0)
