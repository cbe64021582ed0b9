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
from ..networks.temporal_unet import Cond
from .objectives import Denoiser
from .path import Path
from .schedulers import SCHEDULERS, make_scheduler, sample_with_scheduler

MOST = 10_000  # evaluations, so that no file can ask for a grid that fills the memory


@dataclass(frozen=True)
class Sampler:
    """How a chunk is drawn."""

    step: str = "ddim"  # the step rule, a name of STEPS
    network_evaluations: int = 2  # per chunk
    times: tuple[float, ...] = ()  # a grid from 1 down to 0 in place of the default one
    start: float = 1.0  # scale of the noise that it starts from, 0 for none
    noise: float = 1.0  # scale of the noise that "ddpm" adds on the way
    clip: float = 0.0  # largest |x0| on the way, 0 for no limit

    def grid(self) -> tuple[float, ...]:
        """The times 1 = t0 > ... > tN = 0; ConfigError where they are no such grid."""
        default = pick(STEPS, self.step, "sampler").grid
        for name in ("start", "noise", "clip"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} must be finite and not negative, not {getattr(self, name)}"
                )
        if not 1 <= self.network_evaluations <= MOST:
            raise ConfigError(
                f"network_evaluations must lie between 1 and {MOST}, not {self.network_evaluations}"
            )
        times = self.times or default(self.network_evaluations)
        if (
            len(times) < 2
            or times[-1] != 0
            or not (times[0] <= 1 and all(a > b for a, b in pairwise(times)))
        ):
            raise ConfigError(f"times must fall from 1 to 0, not {times}")
        return tuple(times)

    @property
    def cost(self) -> int:
        """Network evaluations that one chunk really costs."""
        return pick(STEPS, self.step, "sampler").cost(len(self.grid()) - 1)

    @property
    def noises(self) -> int:
        """K, how many noise arrays `sample` needs."""
        return len(self.grid()) - 1 if pick(STEPS, self.step, "sampler").stochastic else 1

    def at(self, evaluations: int) -> Sampler:
        """The same sampler with so many network evaluations: itself, or on their default grid."""
        return (
            self
            if evaluations == self.cost
            else replace(self, network_evaluations=evaluations, times=())
        )


def default_grid(evaluations: int) -> tuple[float, ...]:
    """Late splits for two and three evaluations, even steps for all other numbers."""
    few = {2: (1.0, 0.3, 0.0), 3: (1.0, 0.5, 0.1, 0.0)}
    return few.get(evaluations) or even_grid(evaluations)


def even_grid(steps: int) -> tuple[float, ...]:
    """1, (N - 1) / N, ..., 0: with N = T, the times of a discrete schedule."""
    return tuple(k / steps for k in range(steps, -1, -1))


def ddim(
    d: Denoiser, x: Tensor, t: Tensor, r: Tensor, cond: Cond, s: Sampler, fresh: Tensor | None
) -> Tensor:
    """DDIM without noise (Song et al. 2021, eq. 12); on the linear path this is Euler's step."""
    x0, eps = _see(d, x, t, cond, s)
    return d.path.mix(x0, eps, r)


def ddpm(
    d: Denoiser, x: Tensor, t: Tensor, r: Tensor, cond: Cond, s: Sampler, fresh: Tensor | None
) -> Tensor:
    """Ancestral step (Ho et al. 2020, eq. 7) between any two times, its noise scaled by `noise`."""
    x0, _ = _see(d, x, t, cond, s)
    (at, st), (ar, sr) = d.path.coefficients(t.to(x.dtype)), d.path.coefficients(r.to(x.dtype))
    jump = st**2 - (at / ar) ** 2 * sr**2  # variance added between r and t
    mean = (at / ar * sr**2 / st**2)[:, None, None] * x + (ar * jump / st**2)[:, None, None] * x0
    if fresh is None:
        return mean
    return mean + s.noise * (jump.clamp(min=0).sqrt() * sr / st)[:, None, None] * fresh


def heun(
    d: Denoiser, x: Tensor, t: Tensor, r: Tensor, cond: Cond, s: Sampler, fresh: Tensor | None
) -> Tensor:
    """Heun's second-order step along the path's own coordinate; the last one is DDIM's."""
    x0, eps = _see(d, x, t, cond, s)
    ahead = d.path.mix(x0, eps, r)
    if not r.any():
        return ahead
    slope = d.path.target(x0, eps, t, "v") + d.path.target(*_see(d, ahead, r, cond, s), r, "v")
    return x + (d.path.progress(r) - d.path.progress(t))[:, None, None] * slope / 2


def _see(d: Denoiser, x: Tensor, t: Tensor, cond: Cond, s: Sampler) -> tuple[Tensor, Tensor]:
    x0, eps = d(x, t, cond)
    return (x0.clamp(-s.clip, s.clip) if s.clip else x0), eps


@dataclass(frozen=True)
class StepRule:
    """A step, its default grid for a number of evaluations, and what N steps cost.

    step: None where one of diffusers' schedulers steps, on its own times.
    """

    step: Callable[[Denoiser, Tensor, Tensor, Tensor, Cond, Sampler, Tensor | None], Tensor] | None
    grid: Callable[[int], tuple[float, ...]]
    cost: Callable[[int], int]
    stochastic: bool = False


STEPS = {
    "ddim": StepRule(ddim, default_grid, lambda n: n),
    "ddpm": StepRule(ddpm, even_grid, lambda n: n, stochastic=True),
    "heun": StepRule(heun, lambda n: even_grid((n + 1) // 2), lambda n: 2 * n - 1),
    **{name: StepRule(None, even_grid, lambda n: n) for name in SCHEDULERS},
}


def sample(denoiser: Denoiser, sampler: Sampler, noise: Tensor, cond: Cond) -> Tensor:
    """Draw chunks (B, H, A) from noise (K, B, H, A), K = sampler.noises; draws nothing at random itself."""
    times, rule = sampler.grid(), pick(STEPS, sampler.step, "sampler")
    require_fit(sampler, denoiser.path, denoiser.prediction_type)
    if len(noise) < sampler.noises:
        raise ConfigError(
            f"{sampler.step} on this grid needs {sampler.noises} arrays of noise, not {len(noise)}"
        )
    if rule.step is None:
        scheduler = make_scheduler(
            sampler.step, denoiser.path, denoiser.prediction_type, sampler.clip
        )
        return sample_with_scheduler(
            denoiser, scheduler, sampler.network_evaluations, sampler.start * noise, cond
        )
    grid = torch.tensor(times, dtype=noise.dtype, device=noise.device)
    x = denoiser.path.mix(torch.zeros_like(noise[0]), sampler.start * noise[0], grid[0])
    for i, (t, r) in enumerate(pairwise(grid)):
        fresh = noise[i + 1] if rule.stochastic and i + 1 < len(noise) else None
        x = rule.step(denoiser, x, t.expand(len(x)), r.expand(len(x)), cond, sampler, fresh)
    return cond.impose(x)


def require_fit(sampler: Sampler, path: Path, prediction_type: str) -> None:
    """Raise ConfigError where a grid is none, or cannot serve a network of this prediction_type on this path."""
    start = torch.tensor(sampler.grid()[0], dtype=torch.float64)
    if sampler.step in SCHEDULERS and (sampler.times or not path.preserving):
        raise ConfigError(
            f"{sampler.step} chooses its own times, and needs a network of the cosine or beta path"
        )
    if prediction_type == "eps" and path.coefficients(start)[0] == 0:
        raise ConfigError(
            f"eps cannot be split at t = 1 on the {path.name} path: start the grid at 0.999"
        )
