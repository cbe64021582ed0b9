"""Policy: a Spec, a normaliser, an encoder and a network; it holds no state between calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor, nn

from ..envs import ConfigError, Spec
from ..envs.errors import names
from .diffusion.objectives import SINGLE_STEP, Denoiser, choose
from .diffusion.samplers import Sampler, require_fit, sample
from .networks.encoders.state import StateEncoder
from .networks.temporal_unet import Net, TemporalUnet, UnetConfig
from .normaliser import Normaliser

REACH = (
    1.05  # a chunk may leave the range of the demonstrated actions by 5 % of half of it, no further
)


@dataclass(frozen=True)
class PolicyConfig:
    """What a policy is, apart from its weights."""

    observation_steps: int = 2  # O, the latest observations that it sees
    horizon: int = 16  # H, actions of a chunk
    action_steps: int = 8  # actions of a chunk that run before the next is asked for
    objective: str = "flow_atoms"  # what the network learns, a name of objectives.OBJECTIVES
    path: str = ""  # how noise is mixed in, a name of path.PATHS; empty: the objective's first
    net: UnetConfig = field(default_factory=UnetConfig)  # the network
    sampler: Sampler | None = None  # how chunks are drawn; none: `default_sampler` decides

    def __post_init__(self) -> None:
        if not 1 <= self.action_steps <= self.horizon:
            raise ConfigError(
                f"action_steps must lie between 1 and the horizon ({self.horizon}), not {self.action_steps}"
            )
        if self.observation_steps < 1:
            raise ConfigError(f"observation_steps must be at least 1, not {self.observation_steps}")
        objective, path = choose(self.objective, self.path)
        require_fit(self.drawn_by, path, objective.prediction_type)

    @property
    def longest_prefix(self) -> int:
        """Return how many promised actions the policy can go on from; 0 where it has not learnt to."""
        return self.horizon - self.action_steps if self.net.prefix else 0

    @property
    def drawn_by(self) -> Sampler:
        """The sampler, given or default."""
        return self.sampler or default_sampler(self.objective, self.path)


def default_sampler(objective: str, path: str = "") -> Sampler:
    """Two evaluations where the path is straight; else ancestral sampling through the whole schedule."""
    chosen, way = choose(objective, path)
    if objective in SINGLE_STEP:
        return Sampler(network_evaluations=1, start=float(objective == "one_step"))
    if way.preserving:
        return Sampler("ddpm", way.steps, clip=1.0)
    return (
        Sampler(times=(0.999, 0.1, 0.0), clip=1.0) if chosen.prediction_type == "eps" else Sampler()
    )


class Policy(nn.Module):
    """Observation history in, action chunk out, both in robot units."""

    def __init__(
        self, spec: Spec, config: PolicyConfig, normaliser: Normaliser | None = None
    ) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.normaliser = normaliser or Normaliser(spec)
        if not (size := self.normaliser.observation_size):
            raise ConfigError("a policy needs observations, and this Spec has none")
        self.encoder = StateEncoder(config.observation_steps, size, config.net.condition)
        self.net = TemporalUnet(self.normaliser.action_size, config.horizon, config.net)
        self.objective, self.path = choose(config.objective, config.path)

    def denoiser(self, net: Net | None = None) -> Denoiser:
        """The network with the meaning of its output."""
        return Denoiser(net or self.net, self.path, self.objective.prediction_type)

    def features(self, obs: Mapping[str, Tensor]) -> Tensor:
        """obs[key] (B, O, ...) in robot units -> condition features (B, C)."""
        return self.encoder(self.normaliser.encode_observations(obs))

    def loss(self, batch: Mapping[str, Tensor], generator: Generator) -> Tensor:
        """Loss per sample (B,) of batch[key] (B, O, ...) and batch["action"] (B, H, A), in robot units.

        batch["noise"] (B, H, noise_size), where there is one: the noise from which a teacher made the action.
        With net.prefix half of the chunks begin with a prefix, which does not count.
        """
        x0 = self.normaliser.encode_actions(batch["action"])
        prefix = (
            (x0, self._draw_prefix_length(len(x0), generator)) if self.config.net.prefix else ()
        )
        cond = self.net.condition(self.features(batch), *prefix)
        return self.objective.loss(self.denoiser(), x0, cond, generator, batch.get("noise"))

    def _draw_prefix_length(self, n: int, generator: Generator) -> Tensor:
        """Draw prefix lengths (n,) to train with: 0 in half the chunks, else up to the longest one.

        After training-time real-time chunking (arXiv 2512.05964).
        """
        late = self.config.horizon - self.config.action_steps
        u = torch.rand(n, generator=generator, device=generator.device)
        return ((2 * u - 1) * late).ceil().clamp(min=0).to(next(self.parameters()).device)

    @torch.no_grad()
    def act(
        self,
        obs: Mapping[str, Tensor],
        noise: Tensor,
        prefix: Tensor | None = None,
        prefix_length: Tensor | None = None,
        sampler: Sampler | None = None,
        net: Net | None = None,
    ) -> Tensor:
        """Return chunks (B, H, A) in robot units.

        obs[key]: (B, O, ...). noise: (K, B, H, noise_size) with K = sampler.noises. prefix: (B, H, A),
        actions that are promised already, the first prefix_length (B,) of each chunk. sampler: by
        default the policy's own. net: what stands for the network, by default itself.
        """
        encoded_prefix = None if prefix is None else self.normaliser.encode_actions(prefix)
        cond = self.net.condition(self.features(obs), encoded_prefix, prefix_length)
        x = sample(self.denoiser(net), sampler or self.config.drawn_by, noise, cond)
        actions = self.normaliser.decode_actions(x.clamp(-REACH, REACH))
        if prefix is None:
            return actions
        return replace(cond, prefix=prefix.to(actions)).impose(actions)

    @property
    def noise_size(self) -> int:
        """Return the numbers of noise per action, which angles and rotations make larger than A."""
        return self.normaliser.action_size

    @property
    def device(self) -> torch.device:
        """Return where the weights lie."""
        return next(self.parameters()).device

    @torch.no_grad()
    def with_prefix(self) -> Policy:
        """The same policy, whose network has the input for a prefix and does not heed it yet."""
        if self.config.net.prefix:
            return self
        net = replace(self.config.net, prefix=True)
        other, old = (
            Policy(self.spec, replace(self.config, net=net), self.normaliser),
            self.state_dict(),
        )
        if missing := other.state_dict().keys() - old.keys():
            raise ConfigError(
                f"a network of these channels cannot be given a prefix: it has no {names(missing)}"
            )
        for key, weight in other.state_dict().items():
            if weight.shape != old[key].shape:
                weight.zero_()
            weight[tuple(map(slice, old[key].shape))] = old[key]
        return other

    def with_sampler(self, sampler: Sampler) -> Policy:
        """The same weights with another sampler as their own."""
        other = Policy(self.spec, replace(self.config, sampler=sampler), self.normaliser)
        other.encoder, other.net = self.encoder, self.net
        return other
