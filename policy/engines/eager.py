"""The eager engine: PyTorch, operation by operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ...envs import Spec
from ...envs.schema import to_plain
from ..diffusion.samplers import Sampler
from ..networks.temporal_unet import FoldedUnet
from ..policy import Policy
from .engine import ChunkShape, describe_chunks


def shape_of(policy: Policy, sampler: Sampler) -> ChunkShape:
    """Return what whoever asks a policy for chunks has to know."""
    return describe_chunks(to_plain(policy.config), policy.spec, sampler.noises)


class EagerEngine:
    """An Engine over a Policy whose weights do not change any more.

    sampler: by default the policy's own.
    """

    name = "eager"
    batches = True

    def __init__(self, policy: Policy, sampler: Sampler | None = None) -> None:
        self._policy = policy
        self._sampler = sampler or policy.config.drawn_by
        self._shape = shape_of(policy, self._sampler)
        self._net = FoldedUnet(policy.net)

    @property
    def spec(self) -> Spec:
        """Return what the policy observes and commands."""
        return self._policy.spec

    @property
    def shape(self) -> ChunkShape:
        """Return what it is asked with, and what comes back."""
        return self._shape

    @property
    def sampler(self) -> Mapping[str, Any]:
        """Return how it draws a chunk, as policy.json has it."""
        return to_plain(self._sampler)

    def predict(
        self,
        obs: Mapping[str, np.ndarray],
        noise: np.ndarray,
        prefix: np.ndarray | None = None,
        prefix_length: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return chunks (B, H, A) in robot units, as `Engine.predict` says."""
        device = self._policy.device
        history = {}
        for key in self.spec.observations:
            history[key] = torch.as_tensor(obs[key]).to(device)
        actions = self._policy.act(
            history,
            torch.as_tensor(noise).to(device, self._policy.dtype),
            None if prefix is None else torch.as_tensor(prefix).to(device),
            None if prefix_length is None else torch.as_tensor(prefix_length).to(device),
            sampler=self._sampler,
            net=self._net,
        )
        return actions.cpu().numpy()

    @torch.no_grad()
    def look(self, obs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the features of pictures in their place, as `Engine.look` says."""
        looked = dict(obs)
        for camera in self.spec.images:
            pictures = torch.as_tensor(obs[camera]).to(self._policy.device)
            looked[camera] = self._policy.encoder.look(camera, pictures).cpu().numpy()
        return looked
