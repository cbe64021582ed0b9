"""Demonstrations as tensors: state that fits in memory needs no worker processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...demos.store import DemoStore
from ...demos.windows import split, windows
from ...envs import DataError, Spec
from ..normaliser import Normaliser
from ..policy import PolicyConfig


@dataclass(frozen=True)
class Data:
    """Demonstrations as tensors on the training device, with the windows to train and to validate on."""

    spec: Spec
    arrays: Mapping[str, Tensor]  # key -> (N, ...)
    train: tuple[Tensor, Tensor]  # history (W, O), chunk (W, H)
    held_out: tuple[Tensor, Tensor] | None
    normaliser: Normaliser

    def batch(self, rows: Tensor, part: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Samples `rows` (B,) of a part: observations (B, O, ...) and action (B, H, A)."""
        history, chunk = part[0][rows], part[1][rows]
        return {k: v[chunk if k == "action" else history] for k, v in self.arrays.items()}


def read_data(
    path: Path | str,
    config: PolicyConfig,
    device: torch.device,
    *,
    held_out: float = 0.0,
    seed: int = 0,
) -> Data:
    """Load a DemoStore's state fields whole; images are left out, as no encoder here reads them."""
    store = DemoStore.open(path)
    store.require()
    spec = replace(
        store.spec,
        observations={k: f for k, f in store.spec.observations.items() if f.kind != "image"},
    )
    if not spec.observations:
        raise DataError(
            f"{path} holds images only: a policy needs at least one observation of another kind"
        )
    arrays = {k: store.array(k) for k in (*spec.observations, "action")}
    normaliser = Normaliser.fit(spec, arrays, store.ends)
    kept, held = split(len(store), held_out, seed)
    tensors = {k: torch.as_tensor(v).to(device) for k, v in arrays.items()}
    train, rest = (_windows(store.ends, part, config, device) for part in (kept, held))
    if train is None:
        raise DataError(f"{path}: no episode is left to train on")
    return Data(spec, tensors, train, rest, normaliser)


def _windows(
    ends: np.ndarray, part: np.ndarray, p: PolicyConfig, device: torch.device
) -> tuple[Tensor, Tensor] | None:
    if not len(part):
        return None
    w = windows(ends, p.observation_steps, p.horizon, p.action_steps)
    episode = np.searchsorted(ends, w.chunk[:, 0], side="right")
    rows = np.isin(episode, part)
    if not rows.any():
        return None
    return tuple(torch.as_tensor(x[rows]).to(device) for x in (w.history, w.chunk))  # pyright: ignore
