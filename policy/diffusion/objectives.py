"""Objectives: a name decides what the network predicts, on which path, and at which diffusion times it is trained."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...envs import ConfigError
from ...envs.errors import names, pick
from ..networks.temporal_unet import Cond, Net
from .path import PATHS, Path

SINGLE_STEP = ("regression", "one_step")  # objectives of a network that is asked once, at t = 1
LATE = 0.2  # where few-step samplers ask for the last time, more or less: what is exact is decided here
Draw = Callable[
    [Path, int, Generator], tuple[Tensor, Tensor]
]  # -> times (n,), and where the noise is silenced (n,)


@dataclass(frozen=True)
class Denoiser:
    """A network together with what its output means."""

    net: Net
    path: Path
    prediction_type: str  # "x0", "eps" or "v"

    def __call__(self, x: Tensor, t: Tensor, cond: Cond) -> tuple[Tensor, Tensor]:
        """(x0, eps), each (B, H, A), as the network sees them in x at times t (B,)."""
        return self.path.split(x, t, self.net(x, t, cond), self.prediction_type)


@dataclass(frozen=True)
class Objective:
    """What the network predicts, and how a batch draws its times."""

    prediction_type: str
    draw: Draw
    paths: tuple[str, ...]

    def loss(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        cond: Cond,
        generator: Generator,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Mean squared error per sample (B,) at one random time each; the prefix does not count.

        noise (B, H, A): what x0 belongs to, where a teacher made it; else it is drawn.
        """
        t, silent = self.draw(denoiser.path, len(x0), generator)
        t, silent = t.to(x0), silent.to(x0.device)
        if noise is None:
            noise = torch.randn(x0.shape, generator=generator, device=generator.device).to(x0)
        eps = noise * ~silent[:, None, None]
        out = denoiser.net(denoiser.path.mix(x0, eps, t), t, cond)
        error = (out - denoiser.path.target(x0, eps, t, self.prediction_type)).square()
        if cond.mask is None:
            return error.mean((1, 2))
        free = (~cond.mask).to(error).expand_as(error)
        return (error * free).sum((1, 2)) / free.sum((1, 2)).clamp(min=1)


def _uniform(path: Path, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    t = torch.rand(n, generator=generator, device=generator.device)
    return t, torch.zeros_like(t, dtype=torch.bool)


def atoms(mass: float, late: float) -> Draw:
    """A share `mass` at t = 1, half of it from zero noise, as much at `late`, the rest anywhere.

    After MIP (arXiv 2512.01809), two-step regression, which is flow matching at these two times alone.
    """

    def draw(path: Path, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        t, _ = _uniform(path, n, generator)
        u = torch.rand(n, generator=generator, device=generator.device)
        return torch.where(u < mass, 1.0, torch.where(u < 2 * mass, late, t)), u < mass / 2

    return draw


def _once(silent: bool) -> Draw:
    """Always t = 1, from noise or from none."""

    def draw(path: Path, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        t = torch.ones(n, device=generator.device)
        return t, torch.full_like(t, silent, dtype=torch.bool)

    return draw


def _grid(path: Path, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """The times of the discrete schedule, (k + 1) / T; on a path without one, up to where eps can be split."""
    if not path.steps:
        t, silent = _uniform(path, n, generator)
        return t.clamp(1e-3, 1 - 1e-3), silent
    k = torch.randint(path.steps, (n,), generator=generator, device=generator.device)
    return (k + 1) / path.steps, torch.zeros(n, dtype=torch.bool, device=k.device)


OBJECTIVES = {
    "flow_atoms": Objective("v", atoms(0.2, LATE), ("linear",)),
    "flow": Objective("v", _uniform, ("linear",)),
    "regression": Objective("v", _once(True), ("linear",)),
    "one_step": Objective(
        "v", _once(False), ("linear",)
    ),  # what `distill` trains: noise and chunk come in pairs
    **{
        prediction_type: Objective(prediction_type, _grid, ("cosine", "beta", "linear"))
        for prediction_type in ("eps", "x0", "v")
    },
}


def choose(objective: str, path: str = "") -> tuple[Objective, Path]:
    """Look up an objective and its path (by default the first that fits); ConfigError where the two do not fit."""
    chosen = pick(OBJECTIVES, objective, "objective")
    name = path or chosen.paths[0]
    pick(PATHS, name, "path")
    if name not in chosen.paths:
        raise ConfigError(
            f"objective {objective!r} is not defined on path {name!r}; valid: {names(chosen.paths)}"
        )
    return chosen, PATHS[name]
