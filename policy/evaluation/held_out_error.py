"""The open-loop error while a policy is trained: cheap, repeatable, and without a trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Generator

from ...demos.store import DemoStore
from ...envs import ConfigError
from ..diffusion.samplers import Sampler, require_fit
from ..networks.temporal_unet import FoldedUnet
from ..policy import Policy
from ..training.dataset import Samples
from .action_error import ActionError

MOST_WINDOWS = 256  # held-out windows, spread evenly
MOST_EVALUATIONS = 2  # network evaluations per chunk
BEFORE_NOISE = (0.999, 0.1, 0.0)  # times for a network that cannot begin at pure noise
BATCH = 64  # windows that are predicted together


class HeldOutError:
    """Measures held-out windows: the share by which the actions to be executed are off.

    It is the figure of `evaluate_open_loop`, of fewer windows. Training calls it with the averaged
    weights in place; it draws its noise from a generator of its own.
    """

    def __init__(self, data: Path | str) -> None:
        """data: the store that is trained on, whose actions decide what is a large error."""
        self._data = data
        self._measure: ActionError | None = None

    def __call__(self, policy: Policy, samples: Samples) -> float:
        """Return the mean error over windows, executed steps and elements, as a share.

        It is NaN where no recorded action ever changes.
        """
        if self._measure is None:
            actions = DemoStore.open(self._data).array("action")
            self._measure = ActionError.fit(policy.spec, actions)
        count = min(MOST_WINDOWS, len(samples))
        chosen = torch.linspace(0, len(samples) - 1, count).long()
        sampler = few_evaluations(policy)
        net = FoldedUnet(policy.net)
        generator = Generator().manual_seed(0)
        steps = policy.config.action_steps
        shares: list[np.ndarray] = []
        for rows in chosen.split(BATCH):
            batch = samples.batch(rows.to(policy.device))
            shape = (sampler.noises, len(rows), policy.config.horizon, policy.noise_size)
            noise = torch.randn(shape, generator=generator).to(policy.device)
            chunks = policy.act(batch, noise, sampler=sampler, net=net)
            predicted = chunks[:, :steps].cpu().numpy()
            recorded = batch["action"][:, :steps].cpu().numpy()
            counted = batch["recorded"][:, :steps].cpu().numpy()
            errors = counted * self._measure.measure(predicted, recorded)
            shares.append(self._measure.mean_share(errors.sum(1) / counted.sum(1)))
        return float(np.concatenate(shares).mean())


def few_evaluations(policy: Policy) -> Sampler:
    """Return the policy's own sampler, or one of few evaluations where that takes more."""
    own = policy.config.drawn_by
    if own.cost <= MOST_EVALUATIONS:
        return own
    sampler = replace(own, step="ddim", network_evaluations=MOST_EVALUATIONS, times=())
    try:
        require_fit(sampler, policy.path, policy.objective.prediction_type)
    except ConfigError:
        return replace(sampler, times=BEFORE_NOISE)
    return sampler
