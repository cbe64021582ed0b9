"""How far an engine's chunks are from exact ones, and from those of the eager engine."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from ..diffusion.samplers import Sampler
from ..policy import Policy
from .eager import EagerEngine
from .engine import Engine

MOST_ERROR = 1e-5  # share of the range of an action, in single precision on a CPU
ROUNDING = 2.0  # times as far from eager as that is from double precision, where that is more
OBSERVATIONS = 1000  # that are drawn: where the network is steep, one shows little
BATCH = 50  # observations that the eager engine answers together


@dataclass(frozen=True)
class Question:
    """What engines are asked with: B observations, noise, and prefixes where they are taken."""

    obs: dict[str, np.ndarray]
    noise: np.ndarray  # (K, B, H, E)
    prefix: tuple[np.ndarray, ...]  # (B, H, A) and lengths (B,), or nothing

    def ask(self, engine: Engine) -> np.ndarray:
        """Return the engine's chunks (B, H, A)."""
        return engine.predict(self.obs, self.noise, *self.prefix)


def measure_error(
    policy: Policy, sampler: Sampler, engine: Engine, count: int = OBSERVATIONS, seed: int = 0
) -> tuple[float, float]:
    """Return how far an engine is from eager, and eager from double precision.

    Each is the largest distance of an action as a share of its range. Observations, noise and
    prefixes are drawn, the observations from the range of what the policy has learnt from.
    """
    eager = EagerEngine(policy, sampler)
    exact = EagerEngine(deepcopy(policy).double(), sampler)
    generator = Generator().manual_seed(seed)
    errors = np.zeros(2)
    for first in range(0, count, BATCH):
        question = draw_question(policy, eager, min(BATCH, count - first), generator)
        chunks = question.ask(eager)
        found = (question.ask(engine), question.ask(exact))
        errors = np.maximum(errors, [measure_distance(policy, chunks, other) for other in found])
    return float(errors[0]), float(errors[1])


def measure_distance(policy: Policy, chunks: np.ndarray, others: np.ndarray) -> float:
    """Return the largest distance of actions (B, H, A), as a share of their range."""
    encoded = [_encode(policy, actions) for actions in (chunks, others)]
    return float((encoded[0] - encoded[1]).abs().max()) / 2  # the range is -1 to 1


def draw_question(policy: Policy, eager: EagerEngine, count: int, generator: Generator) -> Question:
    """Return so many observations with noise, and with what the policy would do as prefixes."""
    spec = policy.seen
    config = policy.config
    obs: dict[str, np.ndarray] = {}
    states = policy.normaliser.draw_states((count, config.observation_steps), generator)
    for key, values in states.items():
        obs[key] = values.numpy()
    for camera, field in spec.images.items():
        shape = (count, config.encoders.images.frames, *field.shape)
        pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        obs[camera] = pixels.numpy()
    arrays, horizon, width = eager.shape.noise
    noise = torch.randn(arrays, count, horizon, width, generator=generator).numpy()
    if not config.net.prefix:
        return Question(obs, noise, ())
    lengths = torch.randint(0, config.longest_prefix + 1, (count,), generator=generator)
    return Question(obs, noise, (eager.predict(obs, noise), lengths.float().numpy()))


def _encode(policy: Policy, actions: np.ndarray) -> Tensor:
    return policy.normaliser.encode_actions(torch.from_numpy(actions))
