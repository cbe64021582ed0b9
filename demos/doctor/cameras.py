"""Cameras: pictures that show nothing, stand still, come too seldom, or at another time than the state."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..storage.images import EncodedImages
from ..store import DemoStore
from .findings import Finding, Report, count
from .frozen import rare, slow_words, slowness, stalls
from .recording import Recording, usual
from .skew import skew

DARK = 3  # of 255; a picture of 0 and 1 may have that much where it was compressed
PLAIN = 3.0  # standard deviation of the pixels of a picture that shows nothing, of 255
BLACK, WHITE = 24, 232  # mean pixels of a plain picture that is called so
LOOK, BLOCK = 2**29, 2**26  # bytes of pictures per camera that are looked at; that are read at once
GRID = 64  # pixels in a row, at most, that are compared
TINY = 1e-6  # a change that the compared pixels do not show


def cameras(store: DemoStore, r: Recording) -> Iterator[Finding]:
    """What is wrong with the pictures of a store: the ends of all episodes, and some whole episodes of a recording."""
    for key, field in store.spec.observations.items():
        if field.is_image:
            still, findings = _ends(store, key)
            yield from findings
            if len(r):
                yield from _film(store, key, r, still)


def _ends(store: DemoStore, key: str) -> tuple[np.ndarray, list[Finding]]:
    """Compares the first and the last picture of each episode: reading them all would take minutes."""
    pictures, report = store.pictures(key), Report(store.ends, key)
    starts = [0, *store.ends[:-1]]
    seen = [
        _pair(pictures[int(a)], pictures[int(b) - 1])
        for a, b in zip(starts, store.ends, strict=True)
    ]
    still, contrast, mean, most = np.array(seen).T
    plain, still = contrast < PLAIN, still > 0
    if most.max() <= DARK:
        return still, [
            Finding(
                "error",
                key,
                f"no pixel is above {DARK}: black, or stored as 0 to 1 and not 0 to 255",
            )
        ]
    colours = np.where(
        mean < BLACK, "black", np.where(mean > WHITE, "white", "neither black nor white")
    )
    words = f"with a picture of one colour, {colours[plain.argmax()]}: check the lens, the light and the camera's start"
    return still, [
        *report.episodes("error" if plain.all() else "warning", plain, words),
        *report.episodes(
            "warning",
            still & ~plain,
            "with one picture at start and end; check that the camera runs",
        ),
    ]


def _pair(first: np.ndarray, last: np.ndarray) -> tuple[bool, float, float, float]:
    """Whether two pictures are one; contrast and mean of the plainer one; the highest pixel."""
    contrast, plainer = min(
        ((float(p.std(axis=(0, 1)).max()), p) for p in (first, last)), key=lambda pair: pair[0]
    )
    return (
        np.array_equal(first, last),
        contrast,
        float(plainer.mean()),
        float(max(first.max(), last.max())),
    )


def _film(store: DemoStore, key: str, r: Recording, still: np.ndarray) -> Iterator[Finding]:
    """Follows the pictures of as many episodes, spread over all, as can be read in seconds."""
    running = np.flatnonzero(~still[r.numbers])
    if not len(running):
        return
    pictures = store.pictures(key)
    usual_bytes = int(np.prod(pictures.shape[1:])) * int(np.median(r.lengths))
    most = int(np.clip(LOOK // usual_bytes, 1, len(running)))
    part, _ = r.part(running[np.linspace(0, len(running) - 1, most).round().astype(int)], 0, 0)
    ends = store.ends[part.numbers]
    spans = zip((ends - part.lengths).tolist(), ends.tolist(), strict=True)
    change = np.concatenate([_changes(pictures, start, stop) for start, stop in spans])
    looked = "" if most == len(running) else f" (looked at {count(most, 'episode')})"
    for finding in _judge(part, key, change):
        yield replace(finding, message=finding.message + looked)


def _changes(pictures: EncodedImages, start: int, stop: int) -> np.ndarray:
    """Mean change of the pixels from the picture before, (stop - start,); 0 only where two are the same."""
    _, height, width, _ = pictures.shape
    step, block = -(-max(height, width) // GRID), max(BLOCK // (height * width * 3), 1)
    out = [np.zeros(1)]
    for first in range(start, stop - 1, block):
        some = np.asarray(pictures[first : min(first + block + 1, stop)])
        change = abs(np.diff(some[:, ::step, ::step].astype(np.int16), axis=0)).mean(axis=(1, 2, 3))
        out.append(np.maximum(change, TINY * (some[1:] != some[:-1]).any(axis=(1, 2, 3))))
    return np.concatenate(out)


def _judge(part: Recording, key: str, change: np.ndarray) -> Iterator[Finding]:
    if every_n := slowness(part, change):
        yield Finding("warning", key, slow_words(part.hz, every_n))
    elif rare(part, change):
        others = np.sum(
            [np.zeros(part.frames), *(s.step for s in part.observed if s.smooth)], axis=0
        )
        moved = change[:, None].copy()
        moved[part.starts] = usual(change)  # a camera may hang from the start
        message = "shows the picture before again while the robot moves: a frozen camera; cut these frames out"
        yield from part.report(key)(
            "warning",
            stalls(part, change == 0, moved, others, usual(change) / 2, slow=0.0),
            message,
        )
    yield from skew(part, key, change)
