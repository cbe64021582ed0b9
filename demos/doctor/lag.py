"""Actions against the observations that measure them: which comes first, by how much, and whether they are one."""

from collections.abc import Iterator

import numpy as np

from .findings import Finding
from .recording import Recording, Stream, scaled

SAME, COPY = (
    1e-4,
    0.95,
)  # share of the usual range within which numbers are the same; of the frames of a copy
MOVES = 0.05  # share of the usual range that an episode has to move to tell anything
REACH, MOST = 0.75, 40  # longest lag that is looked for [s]; in frames
LATE = 0.5  # a usual lag from here on is reported [s]
CLEAR = 2.0  # a lag counts where the fit is so many times worse without it
APART = 3  # frames by which the lag of an episode has to differ from the usual one


def lags(r: Recording) -> Iterator[Finding]:
    """Action fields that are not a little ahead of what measures them."""
    observed = {s.key: s for s in r.observed}
    for told in r.commanded:
        if told.field.kind in ("linear", "angle") and told.field.measured_by in observed:
            yield from _compare(r, told, observed[told.field.measured_by])


def _compare(r: Recording, told: Stream, seen: Stream) -> Iterator[Finding]:
    a, b = (scaled(told.field, s.raw.astype(float), seen.raw.astype(float)) for s in (told, seen))
    moves = (
        np.maximum.reduceat(
            abs(b - np.repeat(b[r.starts], r.lengths, axis=0)).max(axis=1), r.starts
        )
        > MOVES
    )
    copies = moves & (r.mean(abs(a - b).max(axis=1) < SAME) > COPY)
    message = (
        f"in which the action is a copy of {seen.key!r} in the same frame, what was measured and not what was sent; "
        "record the commands, or take the state of the next frame"
    )
    yield from r.report(told.key).episodes("warning", copies, message)
    reach = min(round(REACH * r.hz), MOST)
    some = np.flatnonzero(moves & ~copies & (r.lengths >= 3 * reach))
    if reach and len(some):
        costs = _costs(r, some, a, b, reach)
        yield from _judge(r, some, costs, told.key, seen.key)


def _costs(
    r: Recording, episodes: np.ndarray, told: np.ndarray, seen: np.ndarray, reach: int
) -> np.ndarray:
    """How badly what is seen fits what was told, up to an offset, lags -reach to reach; (2 reach + 1, episodes)."""
    part, frames = r.part(episodes, reach, reach)
    errors = (told[frames] - seen[frames + lag] for lag in range(-reach, reach + 1))
    variances = np.array([(part.mean(e**2) - part.mean(e) ** 2).mean(axis=1) for e in errors])
    return np.sqrt(np.maximum(variances, 1e-12))


def _judge(
    r: Recording, episodes: np.ndarray, costs: np.ndarray, told: str, seen: str
) -> Iterator[Finding]:
    reach, least = len(costs) // 2, costs.min(axis=0)
    lag, clear = costs.argmin(axis=0) - reach, costs.max(axis=0) > CLEAR * least
    if not clear.any():
        return
    typical = int(np.median(lag[clear]))
    early = clear & (lag < 0) & (costs[reach] > CLEAR * least)
    other = (
        clear & ~early & (abs(lag - typical) >= APART) & (costs[reach + typical] > CLEAR * least)
    )
    report = r.report(told)
    yield from report.episodes("error", r.marked(episodes[early]), _early(r.hz, lag[early], seen))
    yield from report.episodes(
        "warning", r.marked(episodes[other]), _other(lag[other], typical, seen)
    )
    if typical >= max(min(LATE * r.hz, reach), APART):
        message = (
            f"{seen!r} follows {typical} frames ({typical / r.hz:.2g} s) after it: look for delays in the controller "
            "or in the recording, or shift one against the other"
        )
        yield Finding("warning", told, message)


def _early(hz: float, lag: np.ndarray, seen: str) -> str:
    frames = int(abs(np.median(lag))) if len(lag) else 0
    return (
        f"in which {seen!r} is {frames} frames ({frames / hz:.2g} s) ahead of the action, so the actions come from the "
        f"past; pair each state with the action recorded {frames + 1} frames later"
    )


def _other(lag: np.ndarray, typical: int, seen: str) -> str:
    first = lag[0] if len(lag) else 0
    return (
        f"in which {seen!r} follows the action after other than the usual {typical} frames, the first after {first}: "
        "shift the streams, or remove them"
    )
