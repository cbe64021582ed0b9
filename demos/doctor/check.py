"""The dataset doctor: what is wrong with demonstrations, where it begins, and what to do about it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..storage.curation import FILE as CURATION
from ..store import DemoStore
from .cameras import cameras
from .episodes import copies, odd, short
from .findings import Finding, Level
from .frozen import frozen
from .lag import lags
from .motion import idle, jumps
from .recording import Recording, channels
from .stopped import hardly_moved, stopped
from .timing import times
from .values import clipped, unusable, values

__all__ = ["Finding", "Level", "broken", "check"]


def check(store: DemoStore, horizon: int = 16) -> list[Finding]:
    """Everything wrong with a store, errors first; one Finding for each kind of trouble and array.

    horizon: H of the policy to train; shorter episodes are reported.
    """
    store.require()
    return sorted(
        (_named(finding, store) for finding in _findings(store, horizon)),
        key=lambda finding: finding.level,
    )


def broken(findings: Iterable[Finding]) -> bool:
    """Whether there is an error, something that would spoil the training."""
    return any(finding.level == "error" for finding in findings)


def _named(finding: Finding, store: DemoStore) -> Finding:
    """Episodes are called as they were recorded, also where earlier ones are deleted."""
    return replace(
        finding,
        places=tuple((int(store.numbers[episode]), frame) for episode, frame in finding.places),
    )


def _findings(store: DemoStore, horizon: int) -> Iterator[Finding]:
    if store.curation.damage:
        yield Finding("warning", CURATION, store.curation.damage)
    arrays = channels(store)
    yield from times(store)
    yield from values(store, arrays)
    yield from short(store, horizon)
    yield from copies(store)
    recording = Recording.of(store, arrays, unusable(arrays))
    yield from cameras(store, recording)
    if len(recording):
        for part in (clipped, frozen, stopped, hardly_moved, idle, jumps, lags, odd):
            yield from part(recording)
