"""The C++ export: the weights of a policy, in the order in which `source/chunk.cpp` takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from ...envs import ConfigError
from ..diffusion.objectives import Denoiser
from ..diffusion.samplers import Sampler
from ..networks.network import Condition
from ..policy import Policy
from .program import NORM, Operation, Program


def write_weights(policy: Policy, sampler: Sampler, program: Program, path: Path) -> None:
    """Write the weights of a policy; ConfigError for what the source cannot do."""
    if any(action.kind == "quaternion" for action in policy.spec.actions.values()):
        raise ConfigError("format=cpp has no actions that are quaternions: export it as onnx")
    parts = [part.detach().float().flatten() for part in _weights(policy, sampler, program)]
    path.write_bytes(torch.cat(parts).numpy().astype("<f4").tobytes())


def _weights(policy: Policy, sampler: Sampler, program: Program) -> Iterator[Tensor]:
    normaliser = policy.normaliser
    for name in ("observation_low", "observation_high", "action_low", "action_high"):
        yield normaliser.get_buffer(name)
    yield normaliser.difference_scales(policy.config.horizon)
    yield torch.tensor([_start(policy, sampler), sampler.clip])
    yield _coefficients(policy, sampler)
    for operation in program.operations:
        if operation.layer:
            yield from _layer(policy.get_submodule(operation.layer), operation)
    yield policy.net.time_film(torch.tensor(sampler.grid()[:-1]))


def _layer(layer: nn.Module, operation: Operation) -> Iterator[Tensor]:
    """Yield the weights (k, n) of a product, its bias, and gain and shift of a GroupNorm."""
    norm = None
    if operation.finish == NORM:
        layer, norm = layer.children()
    weight = layer.get_parameter("weight")
    if isinstance(layer, nn.Linear):
        weight = weight.T
    elif isinstance(layer, nn.ConvTranspose1d):  # even rows see taps 3 and 1, odd ones 2 and 0
        odd = operation.to_first
        weight = torch.cat([weight[:, :, 3 - odd], weight[:, :, 1 - odd]])
    else:
        weight = weight.permute(2, 1, 0)
    yield weight.reshape(operation.k, operation.n)
    yield layer.get_parameter("bias")
    if norm is not None:
        yield norm.get_parameter("weight")
        yield norm.get_parameter("bias")


def _start(policy: Policy, sampler: Sampler) -> float:
    """Return by what the first noise is multiplied."""
    noise = torch.full((1, 1, 1), sampler.start, dtype=torch.float64)
    begin = torch.tensor(sampler.grid()[0], dtype=torch.float64)
    return float(policy.path.mix(torch.zeros_like(noise), noise, begin))


def _coefficients(policy: Policy, sampler: Sampler) -> Tensor:
    """Return the steps of a sampler as weights (STEPS, 8).

    x0 and eps are sums of x and the network's output; the next x is one of x, x0, eps and noise.
    """
    denoiser = policy.denoiser()
    kind = denoiser.prediction_type
    zero = torch.zeros(1, 1, 1, dtype=torch.float64)
    one = torch.ones_like(zero)
    units = torch.eye(4, dtype=torch.float64)[..., None, None, None]
    free = replace(sampler, clip=0.0)
    rows: list[Tensor] = []
    for begin, end in pairwise(sampler.grid()):
        t = torch.tensor([begin], dtype=torch.float64)
        r = torch.tensor([end], dtype=torch.float64)
        guess = denoiser.path.guess(one, t, kind) if denoiser.preconditioned else zero
        of_x = denoiser.path.split(one, t, guess, kind)
        of_out = denoiser.path.split(zero, t, one, kind)
        row = [of_x[0], of_out[0], of_x[1], of_out[1]]
        for x, x0, eps, fresh in units:
            known = _Known(denoiser.net, denoiser.path, kind, x0=x0, eps=eps)
            row.append(sampler.rule.step(known, x, t, r, Condition(zero), free, fresh))
        rows.append(torch.cat([part.flatten() for part in row]))
    return torch.stack(rows)


@dataclass(frozen=True)
class _Known(Denoiser):
    """A denoiser that sees the same in everything."""

    x0: Tensor = field(kw_only=True)
    eps: Tensor = field(kw_only=True)

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Return (x0, eps)."""
        return self.x0, self.eps
