"""The compiled engine: PyTorch, with the network compiled by torch.compile."""

from __future__ import annotations

import torch

from ..diffusion.samplers import Sampler
from ..networks.temporal_unet import FoldedUnet
from ..policy import Policy
from .eager import EagerEngine


class CompiledEngine(EagerEngine):
    """An EagerEngine whose network is compiled at its first chunk, which takes a minute or more."""

    name = "compiled"

    def __init__(self, policy: Policy, sampler: Sampler | None = None) -> None:
        super().__init__(policy, sampler)
        trunk = torch.compile(policy.net.trunk, dynamic=False)
        self._net = FoldedUnet(policy.net, trunk)
