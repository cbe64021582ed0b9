"""The dataset doctor: what is wrong with demonstrations, where it begins, what to do about it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..storage.curation import FILE as CURATION_FILE
from ..store import DemoStore
from .cameras import check_cameras
from .clipped import find_clipped
from .episodes import find_copies, find_odd, find_short
from .findings import Finding, Level
from .frozen import find_frozen
from .lag import find_lags
from .motion import find_idle, find_jumps
from .recording import Recording
from .signals import list_channels
from .stopped import find_motionless, find_stopped
from .timing import check_times
from .values import check_values, mark_unusable

__all__ = ["Finding", "Level", "broken", "check"]

COMPARISONS = (  # of sound episodes, each from a Recording to Findings
    find_clipped,
    find_frozen,
    find_stopped,
    find_motionless,
    find_idle,
    find_jumps,
    find_lags,
    find_odd,
)


def check(store: DemoStore, horizon: int = 16) -> list[Finding]:
    """Return everything wrong with a store, errors first.

    There is one Finding for each kind of trouble and array. horizon: H of the policy to train;
    shorter episodes are reported.
    """
    store.require()
    findings = [_name_episodes(finding, store) for finding in _find(store, horizon)]
    return sorted(findings, key=lambda finding: finding.level)


def broken(findings: Iterable[Finding]) -> bool:
    """Return whether there is an error, something that would spoil the training."""
    return any(finding.level == "error" for finding in findings)


def _name_episodes(finding: Finding, store: DemoStore) -> Finding:
    """Call episodes as they were recorded, also where earlier ones are deleted."""
    places = []
    for episode, frame in finding.places:
        places.append((int(store.numbers[episode]), frame))
    return replace(finding, places=tuple(places))


def _find(store: DemoStore, horizon: int) -> Iterator[Finding]:
    if store.curation.damage:
        yield Finding("warning", CURATION_FILE, store.curation.damage)
    channels = list_channels(store)
    yield from check_times(store)
    yield from check_values(store, channels)
    yield from find_short(store, horizon)
    yield from find_copies(store)
    recording = Recording.from_store(store, channels, mark_unusable(channels))
    yield from check_cameras(store, recording)
    if len(recording):
        for compare in COMPARISONS:
            yield from compare(recording)
