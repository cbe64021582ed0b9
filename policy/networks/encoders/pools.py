"""Pools: from maps to a few numbers that still know where things are."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpatialSoftmax(nn.Module):
    """From feature maps to keypoints: the mean place of each of K maps.

    After Levine et al. 2016 (arXiv 1504.00702): a 1x1 convolution to K maps, a softmax over the
    places of each, and the expectation of the place in [-1, 1].
    """

    def __init__(self, channels: int, keypoints: int) -> None:
        super().__init__()
        self.size = 2 * keypoints  # numbers that come out
        self.maps = nn.Conv2d(channels, keypoints, 1)

    def attention(self, x: Tensor) -> Tensor:
        """Return how much each place of x (n, channels, h, w) weighs: (n, K, h, w), sums of 1."""
        maps = self.maps(x)
        return maps.flatten(2).softmax(-1).view(maps.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return keypoints (n, 2 K), x and y of each in [-1, 1], of x (n, channels, h, w)."""
        return mean_places(self.attention(x))


class AttentionPool(nn.Module):
    """From the tokens of patches to what K learnt queries find: where it is, and what.

    Each query weighs all places by a softmax, as in a layer of cross-attention.
    """

    VALUES = 16  # numbers of what is found
    KEYS = 64  # numbers by which it is sought

    def __init__(self, channels: int, queries: int) -> None:
        super().__init__()
        self.size = (2 + self.VALUES) * queries  # numbers that come out
        self.norm = nn.LayerNorm(channels)
        self.keys = nn.Linear(channels, self.KEYS)
        self.values = nn.Linear(channels, self.VALUES)
        self.queries = nn.Parameter(torch.randn(queries, self.KEYS))

    def attention(self, x: Tensor) -> Tensor:
        """Return how much each place of x (n, channels, h, w) weighs: (n, K, h, w), sums of 1."""
        scores = self.queries @ self.keys(self._tokens(x)).transpose(1, 2) / self.KEYS**0.5
        return scores.softmax(-1).unflatten(2, x.shape[2:])

    def forward(self, x: Tensor) -> Tensor:
        """Return places (n, 2 K) and values of x (n, channels, h, w), end to end."""
        attention = self.attention(x)
        found = attention.flatten(2) @ self.values(self._tokens(x))  # (n, K, VALUES)
        return torch.cat([mean_places(attention), found.flatten(1)], -1)

    def _tokens(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(2).transpose(1, 2))  # (n, h w, channels)


def mean_places(attention: Tensor) -> Tensor:
    """Return x and y (n, 2 K), in [-1, 1], at which attention (n, K, h, w) lies on average."""
    rows = torch.linspace(-1, 1, attention.shape[2], device=attention.device)
    columns = torch.linspace(-1, 1, attention.shape[3], device=attention.device)
    across = (attention.sum(2) * columns).sum(-1)
    down = (attention.sum(3) * rows).sum(-1)
    return torch.cat([across, down], -1)
