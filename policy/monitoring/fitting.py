"""Fitting the students of a random network to what a policy makes of observations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ..policy import Policy
from .distillation import STUDENTS, Distillation, standardise
from .embedding import Embedding

WIDTH = 256  # of a student's layers
TOLD = 32  # numbers that the random network says
STEPS = 3000
BATCH = 256
RATE = 1e-3
LEAST_DEVIATION = 1e-6  # of what never changes


def fit_distillation(seen: np.ndarray, seed: int = 0) -> Distillation:
    """Return students of a random network that know embedded observations (N, F)."""
    seen = np.asarray(seen, np.float64)
    mean, deviation = seen.mean(0), np.maximum(seen.std(0), LEAST_DEVIATION)
    x = torch.as_tensor(standardise(seen, mean, deviation))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random = _make([x.shape[1], WIDTH, TOLD])
        students = [_make([x.shape[1], WIDTH, WIDTH, TOLD]) for _ in range(STUDENTS)]
    with torch.no_grad():
        scale = random(x).std(0).clamp(min=LEAST_DEVIATION)
        random[-1].weight /= scale[:, None]
        random[-1].bias /= scale
    weights = [weight for student in students for weight in student.parameters()]
    optimiser = torch.optim.Adam(weights, RATE)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        with torch.no_grad():
            told = random(x[rows])
        losses = [(student(x[rows]) - told).square().mean() for student in students]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        optimiser.step()
        rates.step()
    stacked = []
    for parts in zip(*(_layers(student) for student in students), strict=True):
        array = np.stack(parts)
        stacked.append(array if array.ndim == 3 else array[:, None])
    return Distillation(mean, deviation, tuple(_layers(random)), tuple(stacked))


def copy_embedding(policy: Policy) -> Embedding:
    """Return the observation encoder of a policy for numpy."""
    first, _, second = policy.encoder.layers
    assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
    normaliser = policy.normaliser
    return Embedding(
        _plain(normaliser.get_buffer("observation_low")),
        _plain(normaliser.get_buffer("observation_high")),
        _plain(first.weight),
        _plain(first.bias),
        _plain(second.weight),
        _plain(second.bias),
    )


def _make(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _layers(net: nn.Sequential) -> list[np.ndarray]:
    """Return weights (in, out) and biases (out,) by turns."""
    found = []
    for layer in net:
        if isinstance(layer, nn.Linear):
            found += [_plain(layer.weight.T), _plain(layer.bias)]
    return found


def _plain(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
