"""Path: how data and noise mix over diffusion time t in [0, 1]; 0 is data, 1 is noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

PREDICTION_TYPES = ("x0", "eps", "v")
DATA_VARIANCE = 0.25  # of normalised actions, about


@dataclass(frozen=True)
class Path:
    """x_t = alpha(t) x0 + sigma(t) eps, for x (B, H, A) and t (B,) or ().

    A network predicts "x0", "eps" or "v". On the variance-preserving paths v = alpha eps - sigma x0
    (Salimans and Ho 2022); on LINEAR v = dx/dt = eps - x0 (flow matching, Lipman et al. 2023).
    """

    name: str
    coefficients: Callable[[Tensor], tuple[Tensor, Tensor]]  # t -> alpha, sigma
    preserving: bool  # whether alpha^2 + sigma^2 = 1
    steps: int = 0  # T of the discrete schedule that the path continues; 0 where it has none

    def mix(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Return x_t."""
        alpha, sigma = self._coefficients_like(t, x0)
        return alpha * x0 + sigma * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor, prediction_type: str) -> Tensor:
        """Return what a network of this prediction_type should say at x_t."""
        p, q = self._weights(t, x0, prediction_type)
        return p * x0 + q * eps

    def guess(self, x_t: Tensor, t: Tensor, prediction_type: str) -> Tensor:
        """Return the best guess of the target that is linear in x_t.

        It is c_skip x_t of Karras et al. 2022 (EDM, table 1) for x0 of DATA_VARIANCE.
        """
        alpha, sigma = self._coefficients_like(t, x_t)
        p, q = self._weights(t, x_t, prediction_type)
        variance = alpha.square() * DATA_VARIANCE + sigma.square()
        return (p * alpha * DATA_VARIANCE + q * sigma) / variance * x_t

    def split(
        self, x_t: Tensor, t: Tensor, out: Tensor, prediction_type: str
    ) -> tuple[Tensor, Tensor]:
        """Return (x0, eps) from x_t and the network's output.

        "eps" needs alpha > 0, "x0" needs sigma > 0. With v = p x0 + q eps the two equations have
        the determinant alpha q - sigma p = 1 on every path.
        """
        alpha, sigma = self._coefficients_like(t, x_t)
        if prediction_type == "x0":
            return out, (x_t - alpha * out) / sigma
        if prediction_type == "eps":
            return (x_t - sigma * out) / alpha, out
        p, q = self._velocity(t, x_t)
        return q * x_t - sigma * out, alpha * out - p * x_t

    def progress(self, t: Tensor) -> Tensor:
        """Return the coordinate along which v is the slope of x.

        That is the angle on preserving paths, t itself on LINEAR.
        """
        if not self.preserving:
            return t
        alpha, sigma = self.coefficients(t)
        return torch.atan2(sigma, alpha)

    def _weights(self, t: Tensor, like: Tensor, prediction_type: str) -> tuple[Tensor, Tensor]:
        """Return p, q of the target p x0 + q eps."""
        if prediction_type == "v":
            return self._velocity(t, like)
        one, zero = torch.ones_like(like[..., :1]), torch.zeros_like(like[..., :1])
        return (one, zero) if prediction_type == "x0" else (zero, one)

    def _velocity(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return p, q of v = p x0 + q eps."""
        alpha, sigma = self._coefficients_like(t, like)
        if self.preserving:
            return -sigma, alpha
        return -torch.ones_like(sigma), torch.ones_like(alpha)

    def _coefficients_like(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma with the type of `like`, and as many dimensions."""
        alpha, sigma = self.coefficients(t.to(like.dtype))
        shape = (-1, *[1] * (like.ndim - 1)) if t.ndim else ()
        return alpha.reshape(shape), sigma.reshape(shape)


def _linear(t: Tensor) -> tuple[Tensor, Tensor]:
    return 1 - t, t


def _preserving(alpha_bar: Callable[[Tensor], Tensor]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return alpha = sqrt(alpha_bar) and sigma = sqrt(1 - alpha_bar) as functions of t."""

    def coefficients(t: Tensor) -> tuple[Tensor, Tensor]:
        bar = alpha_bar(t)
        return bar.sqrt(), (1 - bar).sqrt()

    return coefficients


def _cosine(t: Tensor, steps: int = 100) -> Tensor:
    """Return alpha_bar after Nichol and Dhariwal 2021, eq. 17.

    The last of the discrete betas is capped at 0.999, as theirs is.
    """

    def f(t: Tensor) -> Tensor:
        return torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    zero = torch.zeros_like(t)
    return torch.maximum(f(t), 0.001 * f(zero + (1 - 1 / steps))) / f(zero)


def _beta(t: Tensor, steps: int = 1000) -> Tensor:
    """Return alpha_bar after Ho et al. 2020: betas rise linearly from 1e-4 to 0.02.

    Between the discrete steps it is log-linear.
    """
    betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64, device=t.device)
    logs = torch.cat([betas.new_zeros(1), (1 - betas).log().cumsum(0)])
    x = t.double() * steps
    k = x.round().where((x - x.round()).abs() < 1e-6, x.floor()).long().clamp(0, steps - 1)
    return torch.lerp(logs[k], logs[k + 1], x - k).exp().to(t.dtype)


LINEAR = Path("linear", _linear, preserving=False)
COSINE = Path("cosine", _preserving(_cosine), preserving=True, steps=100)
BETA = Path("beta", _preserving(_beta), preserving=True, steps=1000)
PATHS = {path.name: path for path in (LINEAR, COSINE, BETA)}
