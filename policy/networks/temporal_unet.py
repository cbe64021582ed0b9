"""TemporalUnet: the 1D U-Net over an action chunk (Chi et al. 2023).

Its FiLM is split into a part of the diffusion time and a part of the observation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from einops import rearrange
from torch import Tensor, nn

from ...envs import ConfigError
from .layers import ConvNorm, Convolution, Growth, ResidualBlock, embed_time, mish
from .network import Condition
from .unet_config import UnetConfig


class TemporalUnet(nn.Module):
    """A Network over chunks (B, H, A), conditioned on features (B, C) through FiLM."""

    def __init__(self, action_size: int, horizon: int, config: UnetConfig) -> None:
        super().__init__()
        config.require_horizon(horizon)
        self.config = config
        channels = config.channels
        inputs = (action_size + config.prefix, *channels[:-1])
        self.films: list[int] = []  # numbers of FiLM per block, in the order in which blocks run
        # The order in which layers are made is the order in which their weights are drawn.
        self.down = nn.ModuleList()
        for before, after in zip(inputs, channels, strict=True):
            self.down.append(self._make_blocks(before, after))
        self.shrink = nn.ModuleList()
        for count in channels[:-1]:
            self.shrink.append(Convolution(count, count, 3, stride=2, padding=1))
        self.middle = self._make_blocks(channels[-1], channels[-1])
        self.up = nn.ModuleList()
        for before, after in zip(inputs[:0:-1], channels[:0:-1], strict=True):
            self.up.append(self._make_blocks(2 * after, before))
        self.grow = nn.ModuleList()
        for count in reversed(channels[:-1]):
            self.grow.append(Growth(count, count, 4, stride=2, padding=1))
        self.last = ConvNorm(channels[0], channels[0], config.kernel, config.groups)
        self.out = Convolution(channels[0], action_size, 1)
        self.film_observation = nn.Linear(config.condition, sum(self.films))
        self.film_time = nn.Linear(config.time_size, sum(self.films), bias=False)
        if config.prefix:
            self._silence_mask(action_size)

    def condition(
        self, features: Tensor, prefix: Tensor | None = None, prefix_length: Tensor | None = None
    ) -> Condition:
        """Return what is computed once per observation: the FiLM of every block in one product.

        features: (B, C); prefix: (B, H, A), the first prefix_length (B,) of each hold.
        """
        film = self.film_observation(mish(features))
        if prefix is None and prefix_length is None:
            return Condition(film)
        if prefix is None or prefix_length is None:
            raise ConfigError("prefix and prefix_length come together")
        if not self.config.prefix:
            raise ConfigError("this network takes no prefix: train with net.prefix=true")
        mask = torch.arange(prefix.shape[1], device=prefix.device) < prefix_length[:, None]
        return Condition(film, prefix, mask[..., None])

    def time_film(self, t: Tensor) -> Tensor:
        """Return the part of FiLM (B, F) that diffusion times t (B,) decide, and no observation."""
        return self.film_time(mish(embed_time(t, self.config.time_size)))

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return one network evaluation (B, H, A) of x (B, H, A) at times t (B,)."""
        return self.trunk(x, condition, self.time_film(t))

    def trunk(self, x: Tensor, condition: Condition, time_film: Tensor) -> Tensor:
        """Return the evaluation (B, H, A) of x (B, H, A), both parts of FiLM being known."""
        x = condition.impose(x)
        if self.config.prefix:
            x = torch.cat([x, _mark_prefix(x, condition)], -1)
        x = rearrange(x, "b h a -> b a 1 h")  # a view: the layers keep the order of the memory
        films = (condition.film + time_film).to(x.dtype)[..., None, None]
        film_of_each = iter(films.split(self.films, 1))
        skips: list[Tensor] = []
        for blocks, shrink in zip(self.down, [*self.shrink, nn.Identity()], strict=True):
            x = _run_blocks(blocks, x, film_of_each)
            skips.append(x)
            x = shrink(x)
        x = _run_blocks(self.middle, x, film_of_each)
        for blocks, grow in zip(self.up, self.grow, strict=True):
            x = torch.cat([x, skips.pop()], 1)
            x = grow(_run_blocks(blocks, x, film_of_each))
        return rearrange(self.out(mish(self.last(x))), "b a 1 h -> b h a")

    def _make_blocks(self, inputs: int, outputs: int) -> nn.ModuleList:
        """Return two blocks, and note the FiLM that they take."""
        kernel = self.config.kernel
        groups = self.config.groups
        self.films += [2 * outputs, 2 * outputs]
        first = ResidualBlock(inputs, outputs, kernel, groups)
        return nn.ModuleList([first, ResidualBlock(outputs, outputs, kernel, groups)])

    @torch.no_grad()
    def _silence_mask(self, action_size: int) -> None:
        """Let the network begin as one that does not heed which actions are promised."""
        block = self.down[0][0]  # pyright: ignore[reportIndexIssue]
        if isinstance(block.skip, nn.Identity):  # it would pass the mask on
            block.skip = Convolution(action_size + 1, action_size + 1, 1)
        for convolution in (block.first[0], block.skip):
            convolution.weight[:, action_size:] = 0


class FoldedUnet:
    """A TemporalUnet that acts: the time part of FiLM is computed once per time and batch size.

    Its outputs are those of the network to the last bit, as long as the weights stay as they are.
    """

    def __init__(self, net: TemporalUnet, trunk: Callable[..., Tensor] | None = None) -> None:
        """trunk: what computes net.trunk, by default that itself."""
        self._net = net
        self._trunk = trunk or net.trunk
        self._time_films: dict[tuple[float, int], Tensor] = {}
        self.condition = net.condition

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return what TemporalUnet returns, for times t (B,) that are all equal."""
        key = (t[0].item(), len(t))
        if key not in self._time_films:
            self._time_films[key] = self._net.time_film(t)
        return self._trunk(x, condition, self._time_films[key])


def _mark_prefix(x: Tensor, condition: Condition) -> Tensor:
    """Return (B, H, 1), 1 where an action of x (B, H, A) is promised."""
    if condition.mask is None:
        return torch.zeros_like(x[..., :1])
    return condition.mask.to(x.dtype)


def _run_blocks(blocks: nn.Module, x: Tensor, film_of_each: Iterator[Tensor]) -> Tensor:
    for block in blocks.children():
        x = block(x, next(film_of_each))
    return x
