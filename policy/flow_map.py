"""Flow map: a network that jumps from time t to any earlier time r, taught by the running average of itself."""

from collections.abc import Iterable
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Generator, Tensor, nn

from .unet import Cond, Net

M = TypeVar("M", bound=nn.Module)
FULL = 0.3  # share of jumps that begin at t = 1
HOME = 0.5  # share that end at r = 0


def map_loss(
    net: Net, teacher: Net, x0: Tensor, cond: Cond, known: Cond, generator: Generator, progress: float
) -> Tensor:
    """Mean squared error per sample (B,) of one jump against two shorter ones of the teacher; linear path only.

    Shortcut models (Frans et al. 2024) with the first of the two jumps shrinking from a half to a tenth as `progress`
    goes from 0 to 1 (alpha-flow, arXiv 2510.20771). known: the observation as the teacher sees it.
    """

    def draw() -> Tensor:
        return torch.rand(len(x0), generator=generator, device=generator.device).to(x0)

    t = torch.where(draw() < FULL, 1.0, draw())
    r = torch.where(draw() < HOME, 0.0, t * draw())
    share = 0.5 - 0.4 * progress
    m = t - share * (t - r)
    eps = torch.randn(x0.shape, generator=generator, device=generator.device).to(x0)
    x = torch.lerp(x0, eps, t[:, None, None])
    with torch.no_grad():
        first = teacher(x, t, m, known)
        second = teacher(x + (m - t)[:, None, None] * first, m, r, known)
    return (net(x, t, r, cond) - torch.lerp(second, first, share)).square().mean((1, 2))


def make_teacher(module: M) -> M:
    """A copy that does not learn."""
    return deepcopy(module).requires_grad_(False)


def follow(teacher: nn.Module | None, average: Iterable[Tensor]) -> None:
    """Let a teacher's weights be the average's own memory."""
    for mine, kept in zip(teacher.parameters(), average, strict=True) if teacher else ():
        mine.data = kept
