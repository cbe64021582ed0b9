"""A policy as functions of tensors that can be traced: static shapes, one observation at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..diffusion.samplers import Sampler
from ..networks.network import Condition
from ..networks.temporal_unet import TemporalUnet
from ..policy import Policy


class CameraGraph(nn.Module):
    """The encoder of one camera: a picture to its features."""

    def __init__(self, policy: Policy, camera: str) -> None:
        super().__init__()
        self.encoder = policy.encoder
        self._camera = camera
        self._shape = policy.seen.images[camera].shape

    def example(self) -> tuple[Tensor, ...]:
        """Return a picture (1, h, w, 3) uint8, black."""
        return (torch.zeros(1, *self._shape, dtype=torch.uint8),)

    def forward(self, picture: Tensor) -> Tensor:
        """Return features (1, F) of a picture (1, h, w, 3) uint8."""
        return self.encoder.look(self._camera, picture[:, None])[:, 0]


class ChunkGraph(nn.Module):
    """The whole sampler: normaliser, encoder of states, every network evaluation, decoding.

    Its inputs are the states of the Spec (1, O, ...), the features (1, P, F) of each camera, noise
    (K, 1, H, E), and, with net.prefix, a prefix (1, H, A) and its length (1,), 0 for none.
    """

    def __init__(self, policy: Policy, sampler: Sampler) -> None:
        super().__init__()
        self.policy = policy
        self._sampler = sampler
        with torch.no_grad():
            times = torch.tensor(sampler.grid()[:-1])
            self.register_buffer("time_films", policy.net.time_film(times))

    def input_names(self) -> list[str]:
        """Return what the inputs are called in a graph, in their order."""
        spec = self.policy.spec
        names = [f"state_{index}" for index in range(len(spec.states))]
        names += [f"camera_{index}" for index in range(len(spec.images))]
        names.append("noise")
        if self.policy.config.net.prefix:
            names += ["prefix", "prefix_length"]
        return names

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs of the right shapes, all zeros."""
        config = self.policy.config
        spec = self.policy.spec
        images = config.encoders.images
        inputs = []
        for field in spec.states.values():
            inputs.append(torch.zeros(1, config.observation_steps, *field.shape))
        for _ in spec.images:
            inputs.append(torch.zeros(1, images.frames, images.features))
        noise_size = self.policy.noise_size
        inputs.append(torch.zeros(self._sampler.noises, 1, config.horizon, noise_size))
        if config.net.prefix:
            inputs.append(torch.zeros(1, config.horizon, spec.action_size))
            inputs.append(torch.zeros(1))
        return tuple(inputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return a chunk (1, H, A) in robot units."""
        spec = self.policy.spec
        keys = [*spec.states, *spec.images]
        obs = dict(zip(keys, inputs, strict=False))
        noise, *prefix = inputs[len(keys) :]
        net = _Unrolled(self.policy.net, iter(self.get_buffer("time_films").split(1)))
        return self.policy.act(obs, noise, *prefix, sampler=self._sampler, net=net)


class _Unrolled:
    """A network whose evaluations take the rows of a table of FiLM, one after the other."""

    def __init__(self, net: TemporalUnet, time_films: Iterator[Tensor]) -> None:
        self._net = net
        self._time_films = time_films
        self.condition = net.condition

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the next evaluation."""
        return self._net.trunk(x, condition, next(self._time_films))
