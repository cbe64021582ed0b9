"""The encoder of states: joints, poses and other small fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .encoder import Encoder


class StateEncoder(Encoder):
    """The whole history of all fields laid end to end, through a small MLP."""

    def __init__(
        self, keys: Sequence[str], size: int, observation_steps: int, features: int
    ) -> None:
        """Encode the fields `keys`, which together have `size` numbers per observation."""
        super().__init__()
        self._keys = tuple(keys)
        self.layers = nn.Sequential(
            nn.Linear(observation_steps * size, features),
            nn.Mish(),
            nn.Linear(features, features),
        )

    def forward(self, history: Mapping[str, Tensor]) -> Tensor:
        """Return features (B, C) of history[key] (B, O, width)."""
        states = torch.cat([history[key] for key in self._keys], -1)  # (B, O, D)
        return self.layers(torch.flatten(states, 1))
