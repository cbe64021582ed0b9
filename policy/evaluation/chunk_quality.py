"""How chunks lie to what was demonstrated nearby, and to each other.

Measures that need no simulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from ...demos.store import DemoStore
from ...envs import DataError
from ..checkpoint import require_match
from ..diffusion.samplers import Sampler
from ..policy import Policy
from ..training.dataset import Samples, read_dataset

NEAR = 16  # demonstrated windows to which a chunk is compared: those with the nearest observations
KNOWN = 0.99  # share of held-back demonstrated chunks that count as like those nearby
SAME = 0.95  # share of the reference's own chunks that count as like its other ones


@dataclass(frozen=True)
class Nearby:
    """Observations of one part of the demonstrations, and what the other part did near them.

    There are W of them.

    obs[key] (W, O, ...) in robot units; chunks (W, NEAR, D): the neighbours' actions, encoded and
    laid end to end; reach: the distance to the nearest of them under which KNOWN of the
    demonstrated chunks stay, rms per number.
    """

    obs: dict[str, Tensor]
    chunks: Tensor
    reach: float

    @classmethod
    def find(cls, policy: Policy, path: Path | str, windows: int = 256) -> Nearby:
        """Hold a tenth of the episodes at `path` back, and look up the neighbours of their windows.

        Neighbours are among the other episodes.
        """
        share = max(0.1, 1 / max(2, len(DemoStore.open(path))))
        data = read_dataset(path, policy.config, torch.device("cpu"), held_out=share)
        require_match(policy, data.spec, f"the demonstrations at {path}")
        if data.held_out is None or len(data.train) < NEAR:
            raise DataError(f"{path} holds too few episodes to compare one part with the other")
        rows = torch.linspace(0, len(data.held_out) - 1, min(windows, len(data.held_out))).long()
        obs, own = _read(policy, data.held_out, rows)
        others, chunks = _read(policy, data.train, torch.arange(len(data.train)))
        here, there = (policy.normaliser.encode_states(o).flatten(1) for o in (obs, others))
        near = chunks[torch.cdist(here, there).topk(NEAR, largest=False).indices]
        return cls(obs, near, _nearest(own, near).quantile(KNOWN).item())

    def draw(self, policy: Policy, sampler: Sampler, seed: int, samples: int = 8) -> Tensor:
        """`samples` chunks (samples, W, D) per observation, encoded, each from noise of its own."""
        shape = (
            sampler.noises,
            samples * len(self.chunks),
            policy.config.horizon,
            policy.noise_size,
        )
        obs = {k: v.repeat(samples, *[1] * (v.ndim - 1)) for k, v in self.obs.items()}
        actions = policy.act(
            obs, torch.randn(shape, generator=Generator().manual_seed(seed)), sampler=sampler
        )
        return policy.normaliser.encode_actions(actions).reshape(samples, len(self.chunks), -1)

    def measure(self, x: Tensor) -> dict[str, Tensor]:
        """Per observation (W,), of chunks x (S, W, D), lengths as rms per number.

        spread: of the chunks about their mean; off_span: what is left of a chunk outside the span
        of its neighbours (arXiv 2512.01809); far: the share of chunks that lie farther than `reach`
        from every neighbour.
        """
        return {
            "spread": (x - x.mean(0)).square().mean((0, 2)).sqrt(),
            "off_span": _outside(x, self.chunks).mean(0),
            "far": (_nearest(x, self.chunks) > self.reach).float().mean(0),
        }


def unlike(x: Tensor, reference: tuple[Tensor, Tensor]) -> Tensor:
    """Return the share (W,) of chunks x (S, W, D) that are far from a reference.

    Far is farther from every chunk of the reference than it is from itself.

    reference: its chunks for the same observations, drawn twice, each (S, W, D).
    """
    once, again = reference[0].transpose(0, 1), reference[1]
    return (_nearest(x, once) > _nearest(again, once).quantile(SAME)).float().mean(0)


def _read(policy: Policy, samples: Samples, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    batch = samples.batch(rows)
    return batch, policy.normaliser.encode_actions(batch.pop("action")).flatten(1)


def _nearest(x: Tensor, chunks: Tensor) -> Tensor:
    """Return the distance (..., W) of x (..., W, D) to the nearest of the chunks (W, K, D).

    It is the root mean square per number.
    """
    return (x[..., None, :] - chunks).square().mean(-1).amin(-1).sqrt()


def _outside(x: Tensor, chunks: Tensor) -> Tensor:
    """Return the length (..., W) of x (..., W, D) outside the affine span of the chunks (W, K, D).

    It is the root mean square per number.
    """
    mean = chunks.mean(1)
    _, sizes, axes = torch.linalg.svd(chunks - mean[:, None], full_matrices=False)
    axes = axes * (sizes > 1e-4 * sizes[:, :1])[..., None]
    offset = x - mean
    inside = torch.einsum("...wd,wkd->...wk", offset, axes)
    return (offset - torch.einsum("...wk,wkd->...wd", inside, axes)).square().mean(-1).sqrt()
