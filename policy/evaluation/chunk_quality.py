"""How chunks lie to what was demonstrated nearby, and to each other: needs no simulator."""

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
    """W observations from one part of the demonstrations, and what the other part did near them."""

    obs: dict[str, Tensor]  # (W, O, ...) in robot units
    chunks: Tensor  # (W, NEAR, D): the neighbours' actions, encoded and laid end to end
    # rms per number: so near to the nearest of them lies a share KNOWN of the demonstrated chunks
    reach: float

    @classmethod
    def find(cls, policy: Policy, path: Path | str, windows: int = 256) -> Nearby:
        """Hold a tenth of the episodes at `path` back, and find neighbours of their windows.

        Raises:
            DataError: There are too few episodes.
        """
        share = max(0.1, 1 / max(2, len(DemoStore.open(path))))
        device = torch.device("cpu")
        data = read_dataset(path, policy.config, device, known=policy.spec, held_out=share)
        require_match(policy, data.spec, f"the demonstrations at {path}")
        too_few = f"{path} holds too few episodes to compare one part with the other"
        if data.held_out is None:
            raise DataError(too_few)
        count = min(windows, len(data.held_out))
        rows = torch.linspace(0, len(data.held_out) - 1, count).long()
        obs, own_chunks = _read(policy, data.held_out, rows)
        other_obs, other_chunks = _read(policy, data.train, torch.arange(len(data.train)))
        if not len(own_chunks) or len(other_chunks) < NEAR:
            raise DataError(too_few)
        here = policy.normaliser.encode_states(obs).flatten(1)
        there = policy.normaliser.encode_states(other_obs).flatten(1)
        nearest = torch.cdist(here, there).topk(NEAR, largest=False).indices
        chunks = other_chunks[nearest]
        reach = _measure_nearest(own_chunks, chunks).quantile(KNOWN).item()
        return cls(obs, chunks, reach)

    def draw(self, policy: Policy, sampler: Sampler, seed: int, samples: int = 8) -> Tensor:
        """Return chunks (samples, W, D) for every observation, encoded, each from its own noise."""
        windows = len(self.chunks)
        obs = {}
        for key, values in self.obs.items():
            repeats = [1] * (values.ndim - 1)
            obs[key] = values.repeat(samples, *repeats)
        config = policy.config
        shape = (sampler.noises, samples * windows, config.horizon, policy.noise_size)
        noise = torch.randn(shape, generator=Generator().manual_seed(seed))
        actions = policy.act(obs, noise, sampler=sampler)
        return policy.normaliser.encode_actions(actions).reshape(samples, windows, -1)

    def measure(self, x: Tensor) -> dict[str, Tensor]:
        """Return measures per observation (W,) of chunks x (S, W, D), lengths as rms per number.

        spread: of the chunks about their mean; off_span: what is left of a chunk outside the span
        of its neighbours (arXiv 2512.01809); far: the share of chunks that lie farther than `reach`
        from every neighbour.
        """
        return {
            "spread": (x - x.mean(0)).square().mean((0, 2)).sqrt(),
            "off_span": _measure_outside(x, self.chunks).mean(0),
            "far": (_measure_nearest(x, self.chunks) > self.reach).float().mean(0),
        }


def measure_unlike(x: Tensor, reference: tuple[Tensor, Tensor]) -> Tensor:
    """Return the share (W,) of chunks x (S, W, D) farther from a reference than it is from itself.

    reference: its chunks for the same observations, drawn twice, each (S, W, D).
    """
    once, again = reference
    drawn = once.transpose(0, 1)
    usual = _measure_nearest(again, drawn).quantile(SAME)
    return (_measure_nearest(x, drawn) > usual).float().mean(0)


def _read(policy: Policy, samples: Samples, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return observations and encoded chunks, of those that were recorded to their last action."""
    batch = samples.batch(rows)
    whole = batch.pop("recorded").all(1)[:, 0]
    batch = {key: tensor[whole] for key, tensor in batch.items()}
    return batch, policy.normaliser.encode_actions(batch.pop("action")).flatten(1)


def _measure_nearest(x: Tensor, chunks: Tensor) -> Tensor:
    """Return the distance (..., W) of x (..., W, D) to the nearest of chunks (W, K, D), as rms."""
    return (x[..., None, :] - chunks).square().mean(-1).amin(-1).sqrt()


def _measure_outside(x: Tensor, chunks: Tensor) -> Tensor:
    """Return the length (..., W) of x (..., W, D) outside the affine span of chunks (W, K, D)."""
    mean = chunks.mean(1)
    _, sizes, axes = torch.linalg.svd(chunks - mean[:, None], full_matrices=False)
    axes = axes * (sizes > 1e-4 * sizes[:, :1])[..., None]
    offset = x - mean
    inside = torch.einsum("...wd,wkd->...wk", offset, axes)
    rest = offset - torch.einsum("...wk,wkd->...wd", inside, axes)
    return rest.square().mean(-1).sqrt()
