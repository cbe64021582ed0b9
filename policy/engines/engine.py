"""Engine: observations and noise in, chunks out, all of them numpy; it is what runners see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...envs import Spec
from ...envs.schema import from_plain
from ..field_widths import encoded_width


@dataclass(frozen=True)
class ChunkShape:
    """What whoever asks for chunks has to know of a policy beside its Spec."""

    observation_steps: int  # O, the latest observations that it sees
    pictures: int  # P, the newest pictures of each camera that it sees
    side: int  # [px] to which the shorter side of a larger picture is brought
    horizon: int  # H, actions of a chunk
    action_steps: int  # actions of a chunk that run before the next is asked for
    takes_prefix: bool  # whether it goes on from actions that are promised already
    noise: tuple[int, int, int]  # (K, H, E): arrays of noise that a chunk needs, E per action
    actuation_delay: float = 0.0  # [s] by which every action is sent before its time
    agreement: float = 0.0  # share of the actions' ranges within which chunks are averaged

    @property
    def longest_prefix(self) -> int:
        """Return how many promised actions it can go on from; 0 where it cannot."""
        return self.horizon - self.action_steps if self.takes_prefix else 0


def describe_chunks(config: Mapping[str, Any], spec: Spec, noises: int) -> ChunkShape:
    """Return the shape of a policy's chunks.

    config: as policy.json has it; noises: arrays of noise that the sampler draws. Raises
    ConfigError where a number is none.
    """
    images = config["encoders"]["images"]
    described = {
        "observation_steps": config["observation_steps"],
        "pictures": images["frames"],
        "side": images["side"],
        "horizon": config["horizon"],
        "action_steps": config["action_steps"],
        "takes_prefix": config["net"]["prefix"],
        "noise": [noises, config["horizon"], sum(map(encoded_width, spec.actions.values()))],
        "actuation_delay": config.get("actuation_delay", 0.0),  # older policies have none
        "agreement": config.get("agreement", 0.0),  # nor this
    }
    return from_plain(ChunkShape, described, "config")


class Engine(Protocol):
    """What computes chunks.

    B is the batch, O the observation steps, H the horizon, A the action size.
    """

    @property
    def name(self) -> str:
        """Return what it is called in settings."""
        ...

    @property
    def spec(self) -> Spec:
        """Return what the policy observes and commands."""
        ...

    @property
    def shape(self) -> ChunkShape:
        """Return what it is asked with, and what comes back."""
        ...

    @property
    def sampler(self) -> Mapping[str, Any]:
        """Return how it draws a chunk, as policy.json has it."""
        ...

    @property
    def batches(self) -> bool:
        """Return whether it computes a batch at once, so that rounding depends on its size."""
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
        the size at which the policy sees them. noise: (K, B, H, E) float32. prefix: (B, H, A),
        actions that are promised already, the first prefix_length (B,) of each chunk.
        """
        ...

    def look(self, obs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the same with the features (B, P, F) of the pictures in their place.

        `predict` takes that, too, and need not look again.
        """
        ...
