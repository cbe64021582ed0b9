"""ResNet18 up to its maps; its weights have torchvision's names."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import relu

from .config import ImageConfig

CHANNELS_PER_GROUP = 16  # of GroupNorm


class FrozenStatistics(nn.BatchNorm2d):
    """BatchNorm that keeps the statistics which came with its weights, in training too."""

    def train(self, mode: bool = True) -> FrozenStatistics:
        """Stay as when acting."""
        return super().train(False)


def make_norm(kind: str, channels: int, epsilon: float = 1e-5) -> nn.Module:
    """Return a layer that normalises (n, channels, h, w); kind: "group" or "frozen"."""
    if kind == "frozen":
        return FrozenStatistics(channels, epsilon).eval()
    groups = max(1, channels // CHANNELS_PER_GROUP)
    return nn.GroupNorm(math.gcd(groups, channels), channels, epsilon)


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = make_norm(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = make_norm(norm, outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, make_norm(norm, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, h, w) of x (n, inputs, h, w); a stride halves height and width."""
        out = relu(self.bn1(self.conv1(x)))
        return relu(self.bn2(self.conv2(out)) + self.downsample(x))


class ResNet18(nn.Module):
    """Pictures to maps: ResNet18 without its average and classes.

    After He et al. 2016 (arXiv 1512.03385). config.width is of the first stage, 64 in the original.
    """

    stride = 32  # px of a picture for each place of the maps

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        width = config.width
        self.channels = 8 * width
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = make_norm(config.norm, width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = make_stage(width, width, 1, config.norm)
        self.layer2 = make_stage(width, 2 * width, 2, config.norm)
        self.layer3 = make_stage(2 * width, 4 * width, 2, config.norm)
        self.layer4 = make_stage(4 * width, 8 * width, 2, config.norm)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return maps (n, 8 width, h / 32, w / 32) of pictures (n, 3, h, w)."""
        x = self.maxpool(relu(self.bn1(self.conv1(pictures))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def make_stage(inputs: int, outputs: int, stride: int, norm: str) -> nn.Sequential:
    """Return two blocks, of which the first has the stride."""
    return nn.Sequential(Block(inputs, outputs, stride, norm), Block(outputs, outputs, 1, norm))
