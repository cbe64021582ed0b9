"""What changes while training, and one step of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ..checkpoint import save_policy
from ..policy import Policy
from .augmentation import augment
from .config import TrainConfig
from .dataset import Dataset, Samples
from .processor import find_fastest, multiplies_in_bfloat16

MOST_VALIDATED = 2048  # held-out windows that the loss is measured on


def group_weights(policy: Policy, config: TrainConfig) -> list[dict[str, Any]]:
    """Return the weights that are trained, in groups of one `rate` each.

    Those that came from a file have a rate of their own; where it is 0 they are set to stay.
    """
    given: list[nn.Parameter] = []
    if config.weights:
        given = policy.encoder.backbone_weights()
    known = {id(weight) for weight in given}
    own = [weight for weight in policy.parameters() if id(weight) not in known]
    groups: list[dict[str, Any]] = [{"params": own, "rate": 1.0}]
    if given and config.weights_rate:
        groups.append({"params": given, "rate": config.weights_rate})
    for weight in given:
        weight.requires_grad_(config.weights_rate > 0)
    return groups


class TrainState:
    """Weights, their average and the optimiser."""

    def __init__(self, policy: Policy, config: TrainConfig) -> None:
        # Here and not above, because it imports slowly.
        from diffusers.optimization import get_cosine_schedule_with_warmup
        from diffusers.training_utils import EMAModel

        self.policy = policy
        self.config = config
        self.device = policy.device
        self.in_bfloat16 = config.bfloat16 and multiplies_in_bfloat16(self.device)
        groups = group_weights(policy, config)
        self.weights: list[nn.Parameter] = []
        for group in groups:
            self.weights += group["params"]
        self.optimiser = torch.optim.AdamW(
            groups,
            lr=config.lr,
            betas=(0.95, 0.999),
            weight_decay=config.weight_decay,
            fused=True,
        )
        schedule = get_cosine_schedule_with_warmup(self.optimiser, config.warmup, config.steps)
        self._share_of_peak = schedule.lr_lambdas[0]
        self.ema = EMAModel(
            self.weights, decay=config.ema, use_ema_warmup=True, power=0.75, foreach=True
        )

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.config.lr * self._share_of_peak(step)

    def take_step(self, batch: Mapping[str, Tensor], generator: Generator, step: int) -> Tensor:
        """Take one step of the optimiser and return the loss ()."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * self.learning_rate(step)
        loss = self._loss(batch, generator)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, self.config.clip)
        self.optimiser.step()
        self.ema.step(self.weights)
        return loss.detach()

    def _loss(self, batch: Mapping[str, Tensor], generator: Generator) -> Tensor:
        """Return the loss () of a batch, augmented."""
        config = self.config
        crop = config.model.encoders.images.crop
        changed = augment(batch, self.policy.spec, config.augment, crop, generator)
        noise_levels = config.noise_levels
        state_noise = config.augment.state_noise
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            return self.policy.loss(changed, generator, noise_levels, state_noise).mean()

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Put the averaged weights in the place of the trained ones."""
        self.ema.store(self.weights)
        self.ema.copy_to(self.weights)
        try:
            yield
        finally:
            self.ema.restore(self.weights)

    @torch.no_grad()
    def measure_held_out_loss(self, held_out: Samples) -> float:
        """Return the loss of the averaged weights on held-out samples.

        The noise is the same every time.
        """
        count = min(MOST_VALIDATED, len(held_out))
        batch = held_out.batch(torch.arange(count, device=self.device))
        generator = Generator(self.device).manual_seed(0)
        with self.averaged_weights():
            return self.policy.loss(batch, generator).mean().item()

    def write_policy(self, out: Path, provenance: Mapping[str, Any]) -> None:
        """Write the averaged weights as a policy."""
        with self.averaged_weights():
            save_policy(self.policy, out, provenance)

    def fastest_threads(self, dataset: Dataset) -> int:
        """Return the threads with which a step takes the least time here.

        It tries the first batch, and leaves no trace.
        """
        if self.device.type != "cpu":
            return 1
        rows = torch.arange(self.config.batch, device=self.device) % len(dataset.train)
        batch = dataset.train.batch(rows)

        def work() -> None:
            self._loss(batch, Generator(self.device).manual_seed(0)).backward()
            self.optimiser.zero_grad()

        return find_fastest(work, os.cpu_count() or 1)
