"""What samplers and objectives see of a network that denoises chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """Everything that one observation fixes, and the actions that are promised already."""

    film: Tensor  # (B, F) scales and shifts of all blocks, end to end
    prefix: Tensor | None = None  # (B, H, A)
    mask: Tensor | None = None  # (B, H, 1) True where the prefix holds

    def impose(self, x: Tensor) -> Tensor:
        """Return x (B, H, A) with the prefix in its place."""
        if self.mask is None or self.prefix is None:
            return x
        return torch.where(self.mask, self.prefix, x)


class Network(Protocol):
    """A network that denoises chunks."""

    def condition(
        self, features: Tensor, prefix: Tensor | None = None, prefix_length: Tensor | None = None
    ) -> Condition:
        """Return what is computed once per observation, from features (B, C).

        prefix: (B, H, A), of which the first prefix_length (B,) actions of each chunk hold.
        """
        ...

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return one evaluation (B, H, A) of x (B, H, A) at times t (B,)."""
        ...
