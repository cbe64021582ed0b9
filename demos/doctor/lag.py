"""Actions against the observations that measure them: which comes first, by how much, or a copy."""

from collections.abc import Iterator

import numpy as np

from .findings import Finding
from .recording import Recording
from .signals import Signal, scale_values

SAME = 1e-4  # share of the usual range within which numbers are the same
COPY = 0.95  # share of the frames of a copy that are the same
MOVES = 0.05  # share of the usual range that an episode has to move to tell anything
LONGEST_SECONDS = 0.75  # [s] the longest lag that is looked for
LONGEST_FRAMES = 40  # and in frames
LATE_SECONDS = 0.5  # [s] a usual lag from here on is reported
CLEAR = 2.0  # a lag counts where the fit is so many times worse without it
APART = 3  # frames by which the lag of an episode has to differ from the usual one


def find_lags(recording: Recording) -> Iterator[Finding]:
    """Find action fields that are not a little ahead of what measures them."""
    observed = {signal.key: signal for signal in recording.observed}
    for commanded in recording.commanded:
        measured = observed.get(commanded.field.measured_by)
        if measured and commanded.field.kind in ("linear", "angle"):
            yield from _compare(recording, commanded, measured)


def _compare(recording: Recording, commanded: Signal, measured: Signal) -> Iterator[Finding]:
    # both in units of the usual range of what is measured
    reference = measured.raw.astype(float)
    told = scale_values(commanded.field, commanded.raw.astype(float), reference)
    seen = scale_values(commanded.field, reference, reference)
    from_start = abs(seen - np.repeat(seen[recording.starts], recording.lengths, axis=0))
    moves = np.maximum.reduceat(from_start.max(axis=1), recording.starts) > MOVES
    same = abs(told - seen).max(axis=1) < SAME
    copies = moves & (recording.episode_means(same) > COPY)
    message = (
        f"in which the action is a copy of {measured.key!r} in the same frame, what was measured"
        " and not what was sent; record the commands, or take the state of the next frame"
    )
    yield from recording.report(commanded.key).episodes("warning", copies, message)
    longest = min(round(LONGEST_SECONDS * recording.hz), LONGEST_FRAMES)
    episodes = np.flatnonzero(moves & ~copies & (recording.lengths >= 3 * longest))
    if longest and len(episodes):
        costs = _fit_costs(recording, episodes, told, seen, longest)
        yield from _judge(recording, episodes, costs, commanded.key, measured.key)


def _fit_costs(
    recording: Recording, episodes: np.ndarray, told: np.ndarray, seen: np.ndarray, longest: int
) -> np.ndarray:
    """Return how badly what is seen fits what was told, up to an offset.

    For lags from -longest to longest, (2 longest + 1, episodes).
    """
    part, frames = recording.cut(episodes, longest, longest)
    costs = []
    for lag in range(-longest, longest + 1):
        error = told[frames] - seen[frames + lag]
        variance = part.episode_means(error**2) - part.episode_means(error) ** 2
        costs.append(np.sqrt(np.maximum(variance.mean(axis=1), 1e-12)))
    return np.array(costs)


def _judge(
    recording: Recording, episodes: np.ndarray, costs: np.ndarray, told: str, seen: str
) -> Iterator[Finding]:
    longest = len(costs) // 2
    least = costs.min(axis=0)
    lag = costs.argmin(axis=0) - longest
    clear = costs.max(axis=0) > CLEAR * least
    if not clear.any():
        return
    typical = int(np.median(lag[clear]))
    early = clear & (lag < 0) & (costs[longest] > CLEAR * least)
    apart = (abs(lag - typical) >= APART) & (costs[longest + typical] > CLEAR * least)
    other = clear & ~early & apart
    report = recording.report(told)
    bad = recording.mark_episodes(episodes[early])
    yield from report.episodes("error", bad, _early_words(recording.hz, lag[early], seen))
    bad = recording.mark_episodes(episodes[other])
    yield from report.episodes("warning", bad, _other_words(lag[other], typical, seen))
    if typical >= max(min(LATE_SECONDS * recording.hz, longest), APART):
        message = (
            f"{seen!r} follows {typical} frames ({typical / recording.hz:.2g} s) after it: look for"
            " delays in the controller or in the recording, or shift one against the other"
        )
        yield Finding("warning", told, message)


def _early_words(hz: float, lag: np.ndarray, seen: str) -> str:
    frames = int(abs(np.median(lag))) if len(lag) else 0
    return (
        f"in which {seen!r} is {frames} frames ({frames / hz:.2g} s) ahead of the action, so the"
        " actions come from the past; pair each state with the action recorded"
        f" {frames + 1} frames later"
    )


def _other_words(lag: np.ndarray, typical: int, seen: str) -> str:
    first = lag[0] if len(lag) else 0
    return (
        f"in which {seen!r} follows the action after other than the usual {typical} frames,"
        f" the first after {first}: shift the streams, or remove them"
    )
