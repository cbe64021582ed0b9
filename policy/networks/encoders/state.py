"""Encoders: normalised observation history -> condition features."""

import torch
from torch import Tensor, nn


class StateEncoder(nn.Module):
    """All keys of the history laid end to end, through a small MLP: (B, O, D) -> (B, C)."""

    def __init__(self, observation_steps: int, size: int, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(observation_steps * size, features), nn.Mish(), nn.Linear(features, features)
        )

    def forward(self, history: Tensor) -> Tensor:
        """(B, O, D) -> (B, C)."""
        return self.layers(torch.flatten(history, 1))
