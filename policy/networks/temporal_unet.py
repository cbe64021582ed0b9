"""TemporalUnet: the 1D U-Net over an action chunk (Chi et al. 2023), its FiLM split into time and observation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ...envs import ConfigError


@dataclass(frozen=True)
class UnetConfig:
    """The shape of a TemporalUnet."""

    channels: tuple[int, ...] = (32, 64, 128)  # per level; from one to the next H is halved
    kernel: int = 5  # [actions] width of the convolutions
    groups: int = 8  # of GroupNorm
    time_size: int = 64  # numbers that embed the diffusion time
    condition: int = 256  # C, numbers that describe the observation
    prefix: bool = False  # an input that marks the actions of a prefix

    def __post_init__(self) -> None:
        for name in ("groups", "time_size", "condition"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.time_size % 2:
            raise ConfigError(f"time_size must be even, not {self.time_size}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"kernel must be odd, not {self.kernel}")
        if not self.channels or min(self.channels) < 1:
            raise ConfigError(
                f"channels must be positive numbers, one per level, not {self.channels}"
            )
        if bad := [c for c in self.channels if c % self.groups]:
            raise ConfigError(f"channels {bad} must be multiples of groups ({self.groups})")


@dataclass(frozen=True)
class Cond:
    """Everything that one observation fixes: FiLM (B, F) of all blocks, a prefix (B, H, A), its mask (B, H, 1)."""

    film: Tensor
    prefix: Tensor | None = None
    mask: Tensor | None = None

    def impose(self, x: Tensor) -> Tensor:
        """Put the prefix into x (B, H, A)."""
        return (
            x
            if self.mask is None or self.prefix is None
            else torch.where(self.mask, self.prefix, x)
        )


class Net(Protocol):
    """A denoiser: what samplers and objectives see of a network."""

    def condition(
        self, features: Tensor, prefix: Tensor | None = None, prefix_length: Tensor | None = None
    ) -> Cond:
        """Once per observation: features (B, C), a prefix (B, H, A) with its lengths (B,)."""
        ...

    def __call__(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """One evaluation: x (B, H, A) at times t (B,) -> (B, H, A)."""
        ...


class TemporalUnet(nn.Module):
    """A Net over chunks (B, H, A), conditioned on features (B, C) through FiLM scale and shift."""

    def __init__(self, action_size: int, horizon: int, config: UnetConfig) -> None:
        super().__init__()
        _check(horizon, config)
        self.config = config
        c, first = config.channels, config.channels[0]
        steps = list(zip((action_size + config.prefix, *c[:-1]), c, strict=True))
        films: list[int] = []

        def pair(inputs: int, outputs: int) -> nn.ModuleList:
            films.extend((outputs, outputs))
            return nn.ModuleList(ResidualBlock(n, outputs, config) for n in (inputs, outputs))

        self.down = nn.ModuleList(pair(a, b) for a, b in steps)
        self.shrink = nn.ModuleList(nn.Conv1d(n, n, 3, stride=2, padding=1) for n in c[:-1])
        self.middle = pair(c[-1], c[-1])
        self.up = nn.ModuleList(pair(2 * b, a) for a, b in reversed(steps[1:]))
        self.grow = nn.ModuleList(
            nn.ConvTranspose1d(n, n, 4, stride=2, padding=1) for n in reversed(c[:-1])
        )
        self.last, self.out = ConvNorm(first, first, config), nn.Conv1d(first, action_size, 1)
        self.films = [2 * n for n in films]
        self.film_observation = nn.Linear(config.condition, sum(self.films))
        self.film_time = nn.Linear(config.time_size, sum(self.films), bias=False)
        if config.prefix:
            self._silence_mask(action_size)

    def condition(
        self, features: Tensor, prefix: Tensor | None = None, prefix_length: Tensor | None = None
    ) -> Cond:
        """Fold an observation: the FiLM of every block in one matrix product."""
        film = self.film_observation(mish(features))
        if prefix is None and prefix_length is None:
            return Cond(film)
        if prefix is None or prefix_length is None:
            raise ConfigError("prefix and prefix_length come together")
        if not self.config.prefix:
            raise ConfigError("this network takes no prefix: train with net.prefix=true")
        mask = torch.arange(prefix.shape[1], device=prefix.device) < prefix_length[:, None]
        return Cond(film, prefix, mask[..., None])

    def time_film(self, t: Tensor) -> Tensor:
        """FiLM (B, F) of diffusion times (B,): depends on no observation, so a time grid has a table of it."""
        return self.film_time(mish(time_embedding(t, self.config.time_size)))

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """One network evaluation: x (B, H, A), t (B,) -> (B, H, A)."""
        return self.trunk(x, cond, self.time_film(t))

    def trunk(self, x: Tensor, cond: Cond, time_film: Tensor) -> Tensor:
        """All that is left per network evaluation once both parts of FiLM are known."""
        x = cond.impose(x)
        if self.config.prefix:
            mask = torch.zeros_like(x[..., :1]) if cond.mask is None else cond.mask.to(x.dtype)
            x = torch.cat([x, mask], -1)
        x = rearrange(x, "b h a -> b a h")
        film = iter((cond.film + time_film).unsqueeze(-1).split(self.films, 1))
        skips = []
        for blocks, shrink in zip(self.down, [*self.shrink, nn.Identity()], strict=True):
            skips.append(x := _through(blocks, x, film))
            x = shrink(x)
        x = _through(self.middle, x, film)
        for blocks, grow in zip(self.up, self.grow, strict=True):
            x = grow(_through(blocks, torch.cat([x, skips.pop()], 1), film))
        return rearrange(self.out(mish(self.last(x))), "b a h -> b h a")

    @torch.no_grad()
    def _silence_mask(self, action_size: int) -> None:
        block = self.down[0][0]  # pyright: ignore[reportIndexIssue]
        if isinstance(block.skip, nn.Identity):  # it would pass the mask on
            block.skip = nn.Conv1d(action_size + 1, action_size + 1, 1)
        for conv in (block.first[0], block.skip):
            conv.weight[:, action_size:] = 0


class ConvNorm(nn.Sequential):
    """Convolution over the horizon, then GroupNorm."""

    def __init__(self, inputs: int, outputs: int, config: UnetConfig) -> None:
        conv = nn.Conv1d(inputs, outputs, config.kernel, padding=config.kernel // 2)
        super().__init__(conv, nn.GroupNorm(config.groups, outputs))


class ResidualBlock(nn.Module):
    """Two convolutions over x (B, inputs, H) with FiLM between them -> (B, outputs, H)."""

    def __init__(self, inputs: int, outputs: int, config: UnetConfig) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, config)
        self.second = ConvNorm(outputs, outputs, config)
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, film: Tensor) -> Tensor:
        """Scale and shift come as film (B, 2 outputs, 1)."""
        scale, shift = film.chunk(2, 1)
        h = mish(self.first(x)) * (1 + scale) + shift
        return mish(self.second(h)) + self.skip(x)


class _Mish(torch.autograd.Function):
    """Mish, x tanh(log(1 + e^x)), with e^x kept for the way back: on CPU 2.5 times as fast as torch's own."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        e = x.clamp(max=40).exp_()
        n = (e + 2).mul_(e)  # tanh(log(1 + e)) = n / (n + 2)
        d = n + 2
        ctx.save_for_backward(x, e, d, n.div_(d))
        return x * n

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, e, d, ratio = ctx.saved_tensors
        return (e + 1).mul_(e).mul_(4).div_(d).div_(d).mul_(x).add_(ratio).mul_(grad)


def mish(x: Tensor) -> Tensor:
    """Mish (Misra 2019)."""
    return _Mish.apply(x) if x.requires_grad and not x.is_cuda else nn.functional.mish(x)  # pyright: ignore


class FoldedUnet:
    """A TemporalUnet that acts: the time part of FiLM is computed once per time and batch size.

    Its outputs are those of the network to the last bit, as long as the weights stay as they are.
    """

    def __init__(self, net: TemporalUnet) -> None:
        self._net = net
        self._time_films: dict[tuple[float, int], Tensor] = {}
        self.condition = net.condition

    def __call__(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """Return what TemporalUnet returns, for times t (B,) that are all equal."""
        key = (t[0].item(), len(t))
        if key not in self._time_films:
            self._time_films[key] = self._net.time_film(t)
        return self._net.trunk(x, cond, self._time_films[key])


def time_embedding(t: Tensor, size: int) -> Tensor:
    """Sines and cosines of t (B,) in [0, 1] at `size` / 2 wavelengths from 2 pi / 1000 up -> (B, size)."""
    half = torch.arange(size // 2, device=t.device, dtype=t.dtype)
    angles = 1000 * t[:, None] * torch.exp(-math.log(10000) * half / (size // 2))
    return torch.cat([angles.sin(), angles.cos()], -1)


def _through(blocks: nn.Module, x: Tensor, film: Iterator[Tensor]) -> Tensor:
    for block in blocks.children():
        x = block(x, next(film))
    return x


def _check(horizon: int, config: UnetConfig) -> None:
    factor = 2 ** (len(config.channels) - 1)
    if horizon < 1 or horizon % factor:
        raise ConfigError(
            f"horizon {horizon} must be a multiple of {factor} for {len(config.channels)} levels"
        )
    if min(config.channels) // config.groups * (horizon // factor) < 2:
        raise ConfigError(
            "fewer than two values per GroupNorm group: use fewer groups or a longer horizon"
        )
