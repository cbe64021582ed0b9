"""EfficientNet-Lite0 up to its maps of a sixteenth of the picture."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import pad, relu6

from .config import ImageConfig
from .resnet import make_norm

EPSILON = 1e-3  # of its BatchNorm


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow's "same" does: more below and on the right."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (n, outputs, h / stride, w / stride), rounded up, of (n, inputs, h, w)."""
        padding: list[int] = []
        sizes = input.shape[:1:-1]  # width and height, as padding is given
        for size, kernel, stride in zip(sizes, self.kernel_size, self.stride, strict=True):
            steps = -(-size // stride) - 1
            missing = max(steps * stride + kernel - size, 0)
            padding += [missing // 2, missing - missing // 2]
        return super().forward(pad(input, padding))


class InvertedBlock(nn.Module):
    """Widen, look at each channel by itself, and narrow, beside a shortcut where shapes agree."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expand: int, norm: str
    ) -> None:
        super().__init__()
        self._has_shortcut = stride == 1 and inputs == outputs
        self._widens = expand > 1
        width = expand * inputs
        if self._widens:
            self.expand_conv = nn.Conv2d(inputs, width, 1, bias=False)
            self.bn0 = make_norm(norm, width, EPSILON)
        self.depthwise_conv = SameConv(width, width, kernel, stride, groups=width, bias=False)
        self.bn1 = make_norm(norm, width, EPSILON)
        self.project_conv = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn2 = make_norm(norm, outputs, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, h / stride, w / stride) of x (n, inputs, h, w)."""
        out = relu6(self.bn0(self.expand_conv(x))) if self._widens else x
        out = relu6(self.bn1(self.depthwise_conv(out)))
        out = self.bn2(self.project_conv(out))
        return out + x if self._has_shortcut else out


# inputs, outputs, kernel, stride, expansion of the blocks up to a sixteenth of the picture
BLOCKS = (
    (32, 16, 3, 1, 1),
    (16, 24, 3, 2, 6),
    (24, 24, 3, 1, 6),
    (24, 40, 5, 2, 6),
    (40, 40, 5, 1, 6),
    (40, 80, 3, 2, 6),
    (80, 80, 3, 1, 6),
    (80, 80, 3, 1, 6),
    (80, 112, 5, 1, 6),
    (112, 112, 5, 1, 6),
    (112, 112, 5, 1, 6),
)


class EfficientNetLite0(nn.Module):
    """Pictures to maps: the stem and the first 11 blocks of EfficientNet-Lite0.

    After Tan and Le 2019 (arXiv 1905.11946); the lite ones have ReLU6, and no squeeze and
    excitation. Weights have the names of the PyTorch port of TensorFlow's, without underscores.
    """

    stride = 16  # px of a picture for each place of the maps

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.channels = BLOCKS[-1][1]
        self.conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self.bn0 = make_norm(config.norm, 32, EPSILON)
        self.blocks = nn.Sequential()
        for shape in BLOCKS:
            self.blocks.append(InvertedBlock(*shape, config.norm))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return maps (n, 112, h / 16, w / 16) of pictures (n, 3, h, w)."""
        return self.blocks(relu6(self.bn0(self.conv_stem(pictures))))
