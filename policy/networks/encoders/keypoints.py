"""Spatial softmax: where a picture's features lie, not how strong they are."""

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
        self.maps = nn.Conv2d(channels, keypoints, 1)

    def attention(self, x: Tensor) -> Tensor:
        """Return how much each place of x (n, channels, h, w) weighs: (n, K, h, w), sums of 1."""
        maps = self.maps(x)
        return maps.flatten(2).softmax(-1).view(maps.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return keypoints (n, 2 K), x and y of each in [-1, 1], of x (n, channels, h, w)."""
        attention = self.attention(x)
        rows = torch.linspace(-1, 1, attention.shape[2], device=x.device)
        columns = torch.linspace(-1, 1, attention.shape[3], device=x.device)
        across = (attention.sum(2) * columns).sum(-1)
        down = (attention.sum(3) * rows).sum(-1)
        return torch.cat([across, down], -1)
