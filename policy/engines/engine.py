"""Engine: observations and noise in, chunks out, all of them numpy; it is what runners see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ...envs import Spec
from ..policy import PolicyConfig


class Engine(Protocol):
    """What computes chunks.

    B is the batch, O the observation steps, H the horizon, A the action size.
    """

    @property
    def spec(self) -> Spec:
        """Return what the policy observes and commands."""
        ...

    @property
    def seen(self) -> Spec:
        """Return the same with pictures at the size at which `predict` takes them."""
        ...

    @property
    def config(self) -> PolicyConfig:
        """Return what the policy is, apart from its weights."""
        ...

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """Return the shape (K, H, E) of the noise for one chunk.

        K: arrays of noise that the sampler needs; E: encoded numbers per action.
        """
        ...

    def predict(
        self,
        obs: Mapping[str, np.ndarray],
        noise: np.ndarray,
        prefix: np.ndarray | None = None,
        prefix_length: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return chunks (B, H, A) in robot units; the same inputs give the same chunks.

        obs[key]: (B, O, ...) in robot units, of a camera (B, P, h, w, 3), its newest pictures at
        the size of `seen`. noise: (K, B, H, E) float32. prefix: (B, H, A),
        actions that are promised already, the first prefix_length (B,) of each chunk.
        """
        ...
