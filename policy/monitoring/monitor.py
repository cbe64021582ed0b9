"""Monitor: what is known of good episodes, in a file beside the policy; no torch is needed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ...envs import CheckpointError
from ...envs.atomic_files import write_file
from ...envs.errors import refusing
from ...envs.schema import from_plain, to_plain
from ..engines.exported import hash_weights
from ..policy_folder import SHIPPED, find_policy
from .distillation import Distillation
from .embedding import Embedding

FILE = "monitor.npz"
SCORES = ("observation", "disagreement")  # of a chunk, in this order
VERSION = 1


@dataclass(frozen=True)
class Calibration:
    """What the scores came to in episodes that succeeded.

    scales: of each score; threshold: of the largest of them in its scale, which an episode that
    succeeds exceeds with probability `alarms` at most; episodes: of which both were made.
    """

    scales: tuple[float, ...]
    threshold: float
    alarms: float
    episodes: int
    source: str  # where they were played

    def shares(self, scores: np.ndarray) -> np.ndarray:
        """Return scores (..., 2) as shares of their thresholds: above 1 any of them is an alarm."""
        return scores / np.array(self.scales) / self.threshold


@dataclass(frozen=True)
class Monitor:
    """Scores the chunks of a policy.

    weights: SHA-256 of the policy's; action_scale: (A,) deviation of its demonstrated actions.
    """

    weights: str
    embedding: Embedding
    distillation: Distillation
    action_scale: np.ndarray
    calibration: Calibration | None = None

    def write(self, policy: Path | str) -> Path:
        """Write it beside the policy, in one step, and return where."""
        require_own(policy)
        folder = find_policy(policy)
        facts = {"version": VERSION, "weights": self.weights}
        if self.calibration:
            facts["calibration"] = to_plain(self.calibration)
        arrays = {"action_scale": self.action_scale, **self.distillation.arrays()}
        for field in fields(Embedding):
            arrays[f"embedding_{field.name}"] = getattr(self.embedding, field.name)
        content = io.BytesIO()
        np.savez(content, facts=np.array(json.dumps(facts)), **arrays)  # pyright: ignore
        write_file(folder / FILE, content.getvalue())
        return folder / FILE


def require_own(policy: Path | str) -> None:
    """Raise CheckpointError where a policy comes with the package, which nothing is added to."""
    folder = find_policy(policy)
    if folder.parent == SHIPPED:
        raise CheckpointError(f"{policy} comes with fewstep: to give it a monitor, copy {folder}")


def has_monitor(policy: Path | str) -> bool:
    """Return whether a monitor lies beside a policy."""
    return (find_policy(policy) / FILE).is_file()


def read_monitor(policy: Path | str) -> Monitor:
    """Return the monitor of a policy; CheckpointError where it is damaged or of other weights."""
    folder = find_policy(policy)
    path = folder / FILE
    with refusing(CheckpointError, f"{path} is no monitor", path):
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(str(arrays.pop("facts")))
        scale = arrays.pop("action_scale")
        layers = {field.name: arrays.pop(f"embedding_{field.name}") for field in fields(Embedding)}
        known = Distillation.of(arrays)
        calibration = _read_calibration(facts.get("calibration"))
        version, weights = facts["version"], str(facts["weights"])
    if version != VERSION:
        raise CheckpointError(f"{path} has version {version!r}, this fewstep reads {VERSION}")
    if weights != hash_weights(folder):
        raise CheckpointError(
            f"{path} is of other weights: fewstep monitor policy={policy} data=... makes another"
        )
    return Monitor(weights, Embedding(**layers), known, scale, calibration)


def _read_calibration(plain: Mapping[str, Any] | None) -> Calibration | None:
    return None if plain is None else from_plain(Calibration, plain, "calibration")
