"""Which episodes of a store a policy was not trained on, as far as its provenance tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...demos.store import DemoStore
from ...demos.windows import split_episodes
from ...envs import CheckpointError
from ..normaliser import Normaliser
from ..policy import Policy
from ..policy_folder import read_meta

HELD_OUT = "held out"  # the policy was trained on others of the same store
TRAINED_ON = "trained on"  # the policy was trained on every episode of the store
OTHER_STORE = "other store"  # the policy was trained on another store
UNKNOWN = "unknown"  # the policy may have been trained on some of them
FLATTERED = "trained on all of these: these errors flatter it"
MAY_FLATTER = "so all count, and the errors may flatter it"


@dataclass(frozen=True)
class HeldOut:
    """Episodes that a policy is measured on, and what it knows of them."""

    episodes: np.ndarray  # (E,) their positions among those that the store shows
    status: str  # HELD_OUT, TRAINED_ON, OTHER_STORE or UNKNOWN
    note: str  # the same in words


class _Doubt(Exception):
    """Why it cannot be told what a policy was trained on."""


def find_held_out(
    name: Path | str, policy: Policy, store: DemoStore, fitted: Normaliser
) -> HeldOut:
    """Return the episodes of a store that a policy was never trained on.

    All of them, where there are none such or where that cannot be told; `status` says so. The
    policies that it went on from, or was distilled from, count as well.

    Args:
        name: Of the policy, as `load_policy` takes it.
        policy: What was loaded.
        store: The demonstrations.
        fitted: Their statistics, by which a store is known that was moved.
    """
    every = np.arange(len(store))
    is_alike = _same_statistics(policy.normaliser, fitted)
    try:
        trained = _trained_episodes(name, store, is_alike)
    except _Doubt as doubt:
        return HeldOut(every, UNKNOWN, f"{doubt}, {MAY_FLATTER}")
    rest = every[~np.isin(every, list(trained))]
    if not trained:
        return HeldOut(every, OTHER_STORE, "trained on another store: all episodes count")
    if not len(rest):
        return HeldOut(every, TRAINED_ON, FLATTERED)
    note = f"held out: {len(rest)} of {len(every)} episodes, which it was not trained on"
    return HeldOut(rest, HELD_OUT, note)


def _trained_episodes(name: Path | str, store: DemoStore, is_alike: bool) -> set[int]:
    """Return the episodes that a policy and those before it were trained on."""
    trained: set[int] = set()
    seen: set[str] = set()
    following: Any = name
    while following:
        if str(following) in seen:
            raise _Doubt(f"policy {following} began with itself")
        seen.add(str(following))
        try:
            meta = read_meta(following)
        except CheckpointError as error:
            raise _Doubt(f"policy {following}, with which it began, cannot be read") from error
        trained |= _own_episodes(meta, store, is_alike)
        if len(trained) == len(store):
            break
        provenance = meta["provenance"]
        following = provenance.get("start") or provenance.get("teacher")
    return trained


def _own_episodes(meta: Mapping[str, Any], store: DemoStore, is_alike: bool) -> set[int]:
    """Return the episodes of the store that one training read, none where it read another one."""
    provenance = meta["provenance"]
    data = provenance.get("data")
    settings = provenance.get("train")
    if not isinstance(data, str) or not isinstance(settings, Mapping):
        raise _Doubt("the policy does not say what it was trained on")
    is_here = Path(data).resolve() == store.path.resolve()
    if provenance.get("teacher"):  # a student is shown every observation
        return set(range(len(store))) if is_here else set()
    share = settings.get("held_out")
    seed = settings.get("seed")
    if not isinstance(share, float | int) or not isinstance(seed, int):
        raise _Doubt("the policy does not say which episodes were held out")
    kept, _ = split_episodes(len(store), share, seed)
    frames = int(np.diff(store.ends, prepend=0)[kept].sum())
    fits = frames == provenance.get("windows")
    if is_here and not fits:
        raise _Doubt("the store holds other episodes than when the policy was trained on it")
    if is_here or (fits and is_alike):
        return set(kept.tolist())
    return set()


def _same_statistics(ours: Normaliser, theirs: Normaliser) -> bool:
    """Return whether two stores have the same range of every element, to the last bit.

    Where no element has a range of its own, as angles have none, that says nothing.
    """
    buffers = dict(theirs.named_buffers())
    tells = False
    for key, values in ours.named_buffers():
        if not values.equal(buffers[key].to(values.device)):
            return False
        tells = tells or bool((values.abs() != 1).any())
    return tells
