"""Encoder: what a policy makes of the observations that it sees."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class Encoder(nn.Module):
    """From a history of normalised observations to condition features."""

    @abstractmethod
    def forward(self, history: Mapping[str, Tensor]) -> Tensor:
        """Return features (B, C) of history[key] (B, O, ...)."""
