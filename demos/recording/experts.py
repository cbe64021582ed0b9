"""Recording without a person: an expert, or a policy, acts on one start after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ...envs import Actor, ConfigError, Outcome, Robot, Spec
from ...envs.errors import pick
from ..episode import Episode
from ..storage.images import ENCODINGS
from ..store import DemoStore
from .recorder import record
from .start_seeds import Starts, starts_from

TRIES = 2  # starts that are tried, at most, for each episode that shall be kept


@dataclass(frozen=True)
class Recorded:
    """What became of a recording.

    Episodes kept, starts that failed, and what the store holds, in words.
    """

    kept: int
    failed: int
    size: str


def record_expert(
    robot: Robot,
    actor: Actor,
    data: Path,
    episodes: int,
    *,
    notes: Mapping[str, Any],
    seed: int = -1,
    repeats: int = 1,
    failures: bool = False,
    images: str = "",
    on_episode: Callable[[Outcome, Episode | None], None] = lambda outcome, episode: None,
) -> Recorded:
    """Record episodes into a store, which is made where there is none.

    Args:
        robot: A simulated one.
        actor: Who shows it.
        data: The store.
        episodes: How many to keep; after twice as many starts it gives up.
        notes: Provenance of a new store.
        seed: Of the first start; negative for the one after those that were tried for the store.
        repeats: Episodes from each start; an expert with several ways shows them in turn.
        failures: Keep unsuccessful ones too.
        images: Encoding of a new store, "jpeg" or "lossless".
        on_episode: Hears how each ended, and the episode where it was kept.
    """
    require_positive(episodes=episodes, repeats=repeats)
    failed = 0

    def count_failures(outcome: Outcome, episode: Episode | None) -> None:
        nonlocal failed
        failed += not outcome.success
        on_episode(outcome, episode)

    with open_writable(data, robot.spec, notes, images) as store:
        starts = starts_from(seed, repeats) if seed >= 0 else Starts(store).go_on(repeats)
        kept = record(
            robot,
            actor,
            store,
            islice(starts, TRIES * episodes),
            math.inf,
            keep=partial(_is_kept, failures),
            progress=count_failures,
            most=episodes,
        )
        return Recorded(kept, failed, store.size)


def require_positive(**counts: int) -> None:
    """Raise ConfigError where one of the counts is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{name} must be at least 1, not {count}")


def _is_kept(failures: bool, outcome: Outcome) -> bool:
    return failures or bool(outcome.success)


def open_writable(path: Path, spec: Spec, notes: Mapping[str, Any], images: str) -> DemoStore:
    """Open a store to append to, or make it.

    ConfigError where it keeps its images in another way.
    """
    if images:
        pick(ENCODINGS, images, "encoding of images")
    if not path.exists():
        return DemoStore.create(path, spec, dict(notes), images or "jpeg")
    store = DemoStore.open(path, "a")
    if images not in ("", store.images):
        store.close()
        raise ConfigError(
            f"{path} keeps its images as {store.images}: "
            f"leave out images={images}, or record elsewhere"
        )
    return store
