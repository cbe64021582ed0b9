"""Samplers: step rules, time grids, and the one loop that joins them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from ...envs import ConfigError
from ...envs.errors import pick
from ..networks.network import Condition
from .objectives import Denoiser
from .path import Path

MOST_EVALUATIONS = 10_000  # so that no file can ask for a grid that fills the memory


@dataclass(frozen=True)
class Sampler:
    """How a chunk is drawn."""

    step: str = "ddim"  # the step rule: ddim or ddpm
    network_evaluations: int = 2  # per chunk
    times: tuple[float, ...] = ()  # a grid from 1 down to 0 in place of the default one
    start: float = 1.0  # scale of the noise that it starts from, 0 for none
    noise: float = 1.0  # scale of the noise that "ddpm" adds on the way
    clip: float = 0.0  # largest |x0| on the way, 0 for no limit

    def grid(self) -> tuple[float, ...]:
        """Return the times 1 = t0 > ... > tN = 0.

        Raises ConfigError where they are no such grid, or another setting means nothing.
        """
        rule = self.rule
        for name in ("start", "noise", "clip"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} must be finite and not negative, not {value}")
        if not 1 <= self.network_evaluations <= MOST_EVALUATIONS:
            raise ConfigError(
                f"network_evaluations must lie between 1 and {MOST_EVALUATIONS}, "
                f"not {self.network_evaluations}"
            )
        times = self.times or rule.grid(self.network_evaluations)
        if not is_grid(times):
            raise ConfigError(f"times must fall from 1 to 0, not {times}")
        return tuple(times)

    @property
    def rule(self) -> StepRule:
        """Return the step rule; ConfigError where there is none of this name."""
        return pick(STEPS, self.step, "sampler")

    @property
    def cost(self) -> int:
        """Return the network evaluations that one chunk really costs."""
        return self.rule.cost(len(self.grid()) - 1)

    @property
    def noises(self) -> int:
        """Return K, how many arrays of noise `sample` needs."""
        return len(self.grid()) - 1 if self.rule.stochastic else 1

    def at(self, evaluations: int) -> Sampler:
        """Return the same sampler with so many network evaluations.

        That is itself where it costs so many, else one on the default grid.
        """
        if evaluations == self.cost:
            return self
        return replace(self, network_evaluations=evaluations, times=())


def is_grid(times: tuple[float, ...]) -> bool:
    """Return whether times fall from at most 1 to 0."""
    if len(times) < 2 or not times[0] <= 1 or times[-1] != 0:
        return False
    return all(later < earlier for earlier, later in pairwise(times))


def default_grid(evaluations: int) -> tuple[float, ...]:
    """Return late splits for two and three evaluations, even steps for all other numbers."""
    few = {2: (1.0, 0.3, 0.0), 3: (1.0, 0.5, 0.1, 0.0)}
    return few.get(evaluations) or even_grid(evaluations)


def even_grid(steps: int) -> tuple[float, ...]:
    """Return 1, (N - 1) / N, ..., 0: with N = T, the times of a discrete schedule."""
    return tuple(k / steps for k in range(steps, -1, -1))


StepFunction = Callable[
    [Denoiser, Tensor, Tensor, Tensor, Condition, Sampler, Tensor | None], Tensor
]


def ddim(
    denoiser: Denoiser,
    x: Tensor,
    t: Tensor,
    r: Tensor,
    condition: Condition,
    sampler: Sampler,
    fresh: Tensor | None,
) -> Tensor:
    """Return x_r from x_t without new noise, t > r (DDIM; Song et al. 2021, eq. 12 with sigma = 0).

    On the linear path this is Euler's step.
    """
    x0, eps = predict_clipped(denoiser, x, t, condition, sampler)
    return denoiser.path.mix(x0, eps, r)


def ddpm(
    denoiser: Denoiser,
    x: Tensor,
    t: Tensor,
    r: Tensor,
    condition: Condition,
    sampler: Sampler,
    fresh: Tensor | None,
) -> Tensor:
    """Return x_r drawn from q(x_r | x_t, x0), t > r (ancestral step; Ho et al. 2020, eq. 7).

    a and s are alpha and sigma at the two times, `added` the variance that the path adds from r to
    t. fresh: noise (B, H, A), scaled by sampler.noise; None for the mean.
    """
    x0, _ = predict_clipped(denoiser, x, t, condition, sampler)
    a_t, s_t = denoiser.path.coefficients(t.to(x.dtype))
    a_r, s_r = denoiser.path.coefficients(r.to(x.dtype))
    added = s_t**2 - (a_t / a_r) ** 2 * s_r**2
    weight_x = a_t / a_r * s_r**2 / s_t**2
    weight_x0 = a_r * added / s_t**2
    mean = weight_x[:, None, None] * x + weight_x0[:, None, None] * x0
    if fresh is None:
        return mean
    std = added.clamp(min=0).sqrt() * s_r / s_t
    return mean + sampler.noise * std[:, None, None] * fresh


def predict_clipped(
    denoiser: Denoiser, x: Tensor, t: Tensor, condition: Condition, sampler: Sampler
) -> tuple[Tensor, Tensor]:
    """Return (x0, eps) as the network sees them in x at times t, x0 within the sampler's clip."""
    x0, eps = denoiser(x, t, condition)
    if sampler.clip:
        x0 = x0.clamp(-sampler.clip, sampler.clip)
    return x0, eps


@dataclass(frozen=True)
class StepRule:
    """A step, its default grid for a number of evaluations, and what N steps cost."""

    step: StepFunction
    grid: Callable[[int], tuple[float, ...]]
    cost: Callable[[int], int]
    stochastic: bool = False


STEPS = {
    "ddim": StepRule(ddim, default_grid, lambda steps: steps),
    "ddpm": StepRule(ddpm, even_grid, lambda steps: steps, stochastic=True),
}


def sample(denoiser: Denoiser, sampler: Sampler, noise: Tensor, condition: Condition) -> Tensor:
    """Draw chunks (B, H, A) from noise (K, B, H, A), K = sampler.noises.

    It draws nothing at random itself. Raises ConfigError where the sampler does not fit.
    """
    rule = sampler.rule
    require_fit(sampler, denoiser.path, denoiser.prediction_type)
    if len(noise) < sampler.noises:
        raise ConfigError(
            f"{sampler.step} on this grid needs {sampler.noises} arrays of noise, not {len(noise)}"
        )
    grid = torch.tensor(sampler.grid(), dtype=noise.dtype, device=noise.device)
    x = denoiser.path.mix(torch.zeros_like(noise[0]), sampler.start * noise[0], grid[0])
    for i, (t, r) in enumerate(pairwise(grid)):
        fresh = noise[i + 1] if rule.stochastic and i + 1 < len(noise) else None
        x = rule.step(denoiser, x, t.expand(len(x)), r.expand(len(x)), condition, sampler, fresh)
    return condition.impose(x)


def require_fit(sampler: Sampler, path: Path, prediction_type: str) -> None:
    """Raise ConfigError where a grid is none, or cannot serve a network of this prediction_type."""
    # On the CPU even where a network is being built without memory.
    start = torch.tensor(sampler.grid()[0], dtype=torch.float64, device="cpu")
    if prediction_type == "eps" and path.coefficients(start)[0] == 0:
        raise ConfigError(
            f"eps cannot be split at t = 1 on the {path.name} path: start the grid at 0.999"
        )
