"""Curate a store: leave episodes out, bring them back, judge them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .storage.curation import Curation, update_curation
from .store import DemoStore


def curate(store: Path | str, change: Callable[[Curation], Curation]) -> Curation:
    """Change the curation of a store and return it, after or before others who do so now.

    `curate("demos", lambda curation: curation.delete(17).judge(3, success=False))`. A damaged file
    is kept beside the new one. Raises DataError for an unknown episode.
    """
    recorded = len(DemoStore.open(store, deleted=True))
    return update_curation(store, recorded, change)
