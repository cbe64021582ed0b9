"""What the temporal U-Net is built of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, conv_transpose2d, pad
from torch.nn.grad import conv2d_input

LARGE = 2**21  # [bytes] of weights, from which on a layer is one product: the cache of a core


class Convolution(nn.Conv1d):
    """Convolution over the horizon of (B, inputs, 1, H), which lies in memory as (B, H, inputs).

    As one of two dimensions it is computed in that order; a CPU then takes about four fifths in
    training. For a single sample the weights would have to be laid out anew each time.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, outputs, 1, H'), laid out likewise."""
        if len(input) == 1:
            return super().forward(input.squeeze(2)).unsqueeze(2)
        weight = self.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        stride, padding = (1, self.stride[0]), (0, *_whole(self.padding))
        if _is_large(weight, stride) or torch.is_autocast_enabled("cpu"):
            return _Convolution.apply(input, weight, self.bias, stride, padding)  # pyright: ignore[reportReturnType]
        return conv2d(input, weight, self.bias, stride, padding)


class _Convolution(torch.autograd.Function):
    """conv2d of x (B, inputs, 1, H) on a CPU, as a product of matrices where that is faster.

    That is the gradient of weights in bfloat16, in down to a sixth of the time, and all of a layer
    with more weights than a core keeps at hand, in down to an eighth.
    """

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)
    def forward(
        ctx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        """Return (B, outputs, 1, H') for a weight (outputs, inputs, 1, kernel)."""
        ctx.save_for_backward(x, weight)
        ctx.places = (stride, padding)
        if _is_large(weight, stride):
            return _multiply(x, weight, padding[1]) + bias.view(-1, 1, 1)
        return conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        stride, padding = ctx.places
        of_x = None
        if ctx.needs_input_grad[0] and _is_large(weight, stride):
            of_x = _multiply(grad, weight.flip(3).transpose(0, 1), padding[1])
        elif ctx.needs_input_grad[0]:
            of_x = conv2d_input(x.shape, weight, grad, stride, padding)
        outputs, inputs, _, kernel = weight.shape
        rows = grad.squeeze(2).transpose(1, 2).flatten(0, 1)
        of_weight = rows.t() @ _gather(x, kernel, stride[1], padding[1])
        of_weight = of_weight.view(outputs, 1, kernel, inputs).permute(0, 3, 1, 2)
        return of_x, of_weight, grad.sum((0, 2, 3)), None, None


def _is_large(weight: Tensor, stride: tuple[int, int]) -> bool:
    """Say whether a layer is one product, which a GPU has no need of."""
    return weight.nbytes > LARGE and stride == (1, 1) and not weight.is_cuda


def _multiply(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Return the convolution of x (B, inputs, 1, H), without its bias, as one product."""
    outputs, _, _, kernel = weight.shape
    matrix = weight.permute(0, 2, 3, 1).reshape(outputs, -1)
    rows = _gather(x, kernel, 1, padding) @ matrix.t()
    return rows.view(len(x), 1, -1, outputs).permute(0, 3, 1, 2)


def _gather(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Return all that each output of a convolution sees of x: (B H', kernel inputs)."""
    rows = pad(x.squeeze(2).transpose(1, 2), (0, 0, padding, padding))
    windows = rows.unfold(1, kernel, stride).transpose(2, 3)  # (B, H', kernel, inputs)
    return windows.flatten(0, 1).flatten(1)


class Growth(nn.ConvTranspose1d):
    """Transposed convolution that doubles the horizon of (B, channels, 1, H), likewise."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (B, channels, 1, 2 H)."""
        if len(input) == 1:
            return super().forward(input.squeeze(2)).unsqueeze(2)
        weight = self.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        stride, padding = (1, *self.stride), (0, *_whole(self.padding))
        return conv_transpose2d(input, weight, self.bias, stride, padding)


def _whole(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    assert not isinstance(padding, str)
    return padding


class ConvNorm(nn.Sequential):
    """Convolution over the horizon, then GroupNorm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int) -> None:
        convolution = Convolution(inputs, outputs, kernel, padding=kernel // 2)
        super().__init__(convolution, nn.GroupNorm(groups, outputs))

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, outputs, 1, H), normalised in the precision of the weights."""
        convolution, norm = self
        return norm(convolution(input).to(norm.weight.dtype))


class ResidualBlock(nn.Module):
    """Two convolutions over x (B, inputs, 1, H), FiLM between them, to (B, outputs, 1, H)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, kernel, groups)
        self.second = ConvNorm(outputs, outputs, kernel, groups)
        self.skip = Convolution(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, film: Tensor) -> Tensor:
        """Return the block's output; film (B, 2 outputs, 1, 1): the scales, then the shifts."""
        scale, shift = film.chunk(2, 1)
        hidden = torch.addcmul(shift, mish(self.first(x)), 1 + scale)
        return mish(self.second(hidden)) + self.skip(x)


class _Mish(torch.autograd.Function):
    """Mish with its slope kept for the way back: on a CPU 2.7 times as fast as torch's own."""

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx, x: Tensor) -> Tensor:
        """Return x tanh(log(1 + e)), e = e^x, as x - 2 x / u with u = (e + 1)^2 + 1."""
        slope = x.clamp(max=40).exp_()
        u = slope + 1
        slope.mul_(u)  # e (e + 1)
        u.square_().add_(1)
        slope.div_(u).mul_(x).mul_(2).sub_(1).div_(u).mul_(2).add_(1)  # 1 - 2/u + 4 x e (e+1) / u^2
        ctx.save_for_backward(slope)
        return torch.addcdiv(x, x, u, value=-2)

    @staticmethod
    @custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradient of x."""
        (slope,) = ctx.saved_tensors
        return grad * slope


class Mish(nn.Module):
    """`mish` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Return Mish of x."""
        return mish(x)


def mish(x: Tensor) -> Tensor:
    """Return Mish (Misra 2019) of x: x tanh(log(1 + e^x))."""
    if torch.compiler.is_exporting():  # runtimes lack the operation, or cannot fold it
        e = x.clamp(max=40).exp()
        n = e * (e + 2)
        return x * (n / (n + 2))
    if x.requires_grad and not x.is_cuda:
        return _Mish.apply(x)  # pyright: ignore[reportReturnType]
    return nn.functional.mish(x)


def embed_time(t: Tensor, size: int) -> Tensor:
    """Return sines and cosines (B, size) of t (B,) in [0, 1].

    They have size / 2 wavelengths from 2 pi / 1000 up.
    """
    half = torch.arange(size // 2, device=t.device, dtype=t.dtype)
    angles = 1000 * t[:, None] * torch.exp(-math.log(10000) * half / (size // 2))
    return torch.cat([angles.sin(), angles.cos()], -1)
