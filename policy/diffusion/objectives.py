"""Objectives: what a network predicts, on which path, and at which times it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...envs import ConfigError
from ...envs.errors import names, pick
from ..networks.network import Condition, Network
from .path import PATHS, Path

SINGLE_STEP = ("regression", "one_step")  # objectives of a network that is asked once, at t = 1
LATE_TIME = 0.2  # about where few-step samplers ask for the last time: it decides what is exact

# From path, count and generator to times (count,), and where the noise is silenced (count,).
DrawTimes = Callable[[Path, int, Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Denoiser:
    """A network together with what its output means.

    preconditioned: the network adds to the best linear guess. Else it has to hand noise through its
    layers, which takes about two channels for each number of an action.
    """

    net: Network
    path: Path
    prediction_type: str  # "x0", "eps" or "v"
    preconditioned: bool = False

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return what `prediction_type` says (B, H, A), of x (B, H, A) at times t (B,)."""
        out = self.net(x, t, condition)
        return out + self.path.guess(x, t, self.prediction_type) if self.preconditioned else out

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Return (x0, eps), each (B, H, A), as the network sees them in x at times t (B,)."""
        return self.path.split(x, t, self.predict(x, t, condition), self.prediction_type)


@dataclass(frozen=True)
class Objective:
    """What the network predicts, and how a batch draws its times."""

    prediction_type: str
    draw_times: DrawTimes
    paths: tuple[str, ...]  # on which it is defined

    def loss(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        condition: Condition,
        generator: Generator,
        noise: Tensor | None = None,
        recorded: Tensor | None = None,
    ) -> Tensor:
        """Return the mean squared error per sample (B,) of x0 (B, H, A), at one random time each.

        The prefix does not count. noise: (B, H, A), what x0 belongs to where a teacher made it;
        else it is drawn. recorded: (B, H, 1), False where x0 only fills a chunk up, past the end of
        an episode, which does not count either: repeated last actions would teach to stand still.
        """
        t, silent = self.draw_times(denoiser.path, len(x0), generator)
        t = t.to(x0)
        silent = silent.to(x0.device)
        if noise is None:
            noise = torch.randn(x0.shape, generator=generator, device=generator.device).to(x0)
        eps = noise * ~silent[:, None, None]
        out = denoiser.predict(denoiser.path.mix(x0, eps, t), t, condition)
        error = (out - denoiser.path.target(x0, eps, t, self.prediction_type)).square()
        if condition.mask is None and recorded is None:
            return error.mean((1, 2))
        counted = torch.ones_like(error[..., :1])
        if condition.mask is not None:
            counted = counted * ~condition.mask
        if recorded is not None:
            counted = counted * recorded
        counted = counted.expand_as(error)
        return (error * counted).sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)


def draw_uniform(path: Path, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw times from all of [0, 1)."""
    t = torch.rand(count, generator=generator, device=generator.device)
    return t, torch.zeros_like(t, dtype=torch.bool)


def draw_atoms(mass: float, late: float) -> DrawTimes:
    """Return how to draw a share `mass` at t = 1, as much at t = `late`, and the rest anywhere.

    Half of what is at t = 1 comes from zero noise. After MIP (arXiv 2512.01809), two-step
    regression, which is flow matching at these two times alone.
    """

    def draw(path: Path, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        t, _ = draw_uniform(path, count, generator)
        u = torch.rand(count, generator=generator, device=generator.device)
        t = torch.where(u < 2 * mass, late, t)
        t = torch.where(u < mass, 1.0, t)
        return t, u < mass / 2

    return draw


def draw_ones(silent: bool) -> DrawTimes:
    """Return how to draw t = 1 always, from noise or, where silent, from none."""

    def draw(path: Path, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        t = torch.ones(count, device=generator.device)
        return t, torch.full_like(t, silent, dtype=torch.bool)

    return draw


def draw_discrete(path: Path, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw times of the discrete schedule, (k + 1) / T.

    On a path without one they come from anywhere that eps can be split.
    """
    if not path.steps:
        t, silent = draw_uniform(path, count, generator)
        return t.clamp(1e-3, 1 - 1e-3), silent
    k = torch.randint(path.steps, (count,), generator=generator, device=generator.device)
    return (k + 1) / path.steps, torch.zeros(count, dtype=torch.bool, device=k.device)


OBJECTIVES = {
    "flow_atoms": Objective("v", draw_atoms(0.2, LATE_TIME), ("linear",)),
    "flow": Objective("v", draw_uniform, ("linear",)),
    "regression": Objective("v", draw_ones(silent=True), ("linear",)),
    # What `distill` trains: noise and chunk come in pairs.
    "one_step": Objective("v", draw_ones(silent=False), ("linear",)),
    "eps": Objective("eps", draw_discrete, ("cosine", "beta", "linear")),
    "x0": Objective("x0", draw_discrete, ("cosine", "beta", "linear")),
    "v": Objective("v", draw_discrete, ("cosine", "beta", "linear")),
}


def choose_objective(objective: str, path: str = "") -> tuple[Objective, Path]:
    """Return an objective and its path, by default the first that fits.

    Raises ConfigError where a name is unknown or the two do not fit.
    """
    chosen = pick(OBJECTIVES, objective, "objective")
    name = path or chosen.paths[0]
    pick(PATHS, name, "path")
    if name not in chosen.paths:
        raise ConfigError(
            f"objective {objective!r} is not defined on path {name!r}; valid: {names(chosen.paths)}"
        )
    return chosen, PATHS[name]
