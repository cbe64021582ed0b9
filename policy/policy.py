"""Policy: a Spec, a normaliser, an encoder and a network; it holds no state between calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor, nn

from ..envs import ConfigError, Spec
from ..envs.agent import require_delay, require_reach
from ..envs.averaging import require_agreement
from ..envs.errors import names
from ..envs.pictures import as_seen
from .diffusion.objectives import SINGLE_STEP, Denoiser, choose_objective
from .diffusion.samplers import Sampler, require_fit, sample
from .networks.encoders.config import EncoderConfig
from .networks.encoders.observation import ObservationEncoder
from .networks.encoders.pictures import crop_size
from .networks.network import Network
from .networks.temporal_unet import TemporalUnet, UnetConfig
from .normaliser import Normaliser


@dataclass(frozen=True)
class PolicyConfig:
    """What a policy is, apart from its weights."""

    observation_steps: int = 2  # O, the latest observations that it sees
    horizon: int = 16  # H, actions of a chunk
    action_steps: int = 8  # actions of a chunk that run before the next is asked for
    actuation_delay: float = 0.0  # [s] by which every action is sent before its time
    # share of the actions' ranges within which a chunk is averaged with those before it; 0 averages
    # nothing
    agreement: float = 0.0
    # what the network learns: flow_atoms, flow, regression, one_step, eps, x0 or v
    objective: str = "flow_atoms"
    path: str = ""  # how noise is mixed in: linear, cosine or beta; empty: what fits
    # the network adds to the best linear guess of its output, see Denoiser; by default where it has
    # fewer than two channels for each number of an action
    precondition: bool | None = None
    # what is learnt of an action is how far it lies from what measures it when the chunk begins
    from_measured: bool = False
    encoders: EncoderConfig = field(default_factory=EncoderConfig)  # of the observations
    net: UnetConfig = field(default_factory=UnetConfig)  # the network
    sampler: Sampler | None = None  # how chunks are drawn; none: what fits the objective

    def __post_init__(self) -> None:
        if not 1 <= self.action_steps <= self.horizon:
            raise ConfigError(
                f"action_steps must lie between 1 and the horizon ({self.horizon}), "
                f"not {self.action_steps}"
            )
        require_delay(self.actuation_delay)
        if self.observation_steps < 1:
            raise ConfigError(f"observation_steps must be at least 1, not {self.observation_steps}")
        if self.encoders.images.frames > self.observation_steps:
            raise ConfigError(
                f"images.frames must be at most observation_steps ({self.observation_steps}), "
                f"not {self.encoders.images.frames}"
            )
        objective, path = choose_objective(self.objective, self.path)
        if self.from_measured and objective.prediction_type == "eps":
            raise ConfigError(
                f"from_measured has no range to clip to, without which objective="
                f"{self.objective!r} cannot be sampled: choose another objective"
            )
        require_fit(self.drawn_by, path, objective.prediction_type)
        if self.objective in SINGLE_STEP and self.drawn_by.cost > 1:
            raise ConfigError(
                f"objective={self.objective!r} is asked once, not {self.drawn_by.cost} times: set "
                "model.sampler=null"
            )

    @property
    def longest_prefix(self) -> int:
        """Return how many promised actions the policy can go on from; 0 where it cannot."""
        return self.horizon - self.action_steps if self.net.prefix else 0

    @property
    def differences(self) -> int:
        """Return how many actions of a chunk are learnt as differences: all or none."""
        return self.horizon if self.from_measured else 0

    @property
    def drawn_by(self) -> Sampler:
        """Return the sampler, given or default."""
        if self.sampler is not None:
            return self.sampler
        sampler = default_sampler(self.objective, self.path)
        return replace(sampler, clip=0.0) if self.from_measured else sampler


def default_sampler(objective: str, path: str = "") -> Sampler:
    """Return two evaluations where the path is straight, else all steps of the schedule."""
    chosen, mixing = choose_objective(objective, path)
    if objective in SINGLE_STEP:
        return Sampler(network_evaluations=1, start=float(objective == "one_step"))
    if mixing.preserving:
        return Sampler("ddpm", mixing.steps, clip=1.0)
    if chosen.prediction_type == "eps":
        return Sampler(times=(0.999, 0.1, 0.0), clip=1.0)
    return Sampler()


class Policy(nn.Module):
    """Observation history in, action chunk out, both in robot units."""

    def __init__(
        self, spec: Spec, config: PolicyConfig, normaliser: Normaliser | None = None
    ) -> None:
        super().__init__()
        self.spec = spec
        self.normaliser = normaliser or Normaliser(spec, config.differences)
        if self.normaliser.horizon != config.differences:
            raise ConfigError(
                "the normaliser was fitted for other differences than the policy's: fit it with "
                f"horizon={config.differences}"
            )
        if config.precondition is None:
            narrow = config.net.channels[0] < 2 * self.normaliser.action_size
            config = replace(config, precondition=narrow)
        self.config = config
        delay = config.actuation_delay
        require_reach(config.horizon, config.action_steps, delay, spec.policy_hz)
        require_agreement(config.agreement, spec)
        if not spec.observations:
            raise ConfigError("a policy needs observations, and this Spec has none")
        self.encoder = ObservationEncoder(
            config.encoders,
            list(spec.states),
            self.normaliser.observation_size,
            list(spec.images),
            config.observation_steps,
            config.net.condition,
        )
        self._require_visible()
        self.net = TemporalUnet(self.normaliser.action_size, config.horizon, config.net)
        self.objective, self.path = choose_objective(config.objective, config.path)

    @property
    def noise_size(self) -> int:
        """Return the numbers of noise per action, which angles and rotations make larger than A."""
        return self.normaliser.action_size

    @property
    def seen(self) -> Spec:
        """Return the Spec with pictures at the size at which the policy sees them."""
        return as_seen(self.spec, self.config.encoders.images.side)

    @property
    def device(self) -> torch.device:
        """Return where the weights lie."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision of the weights."""
        return next(self.parameters()).dtype

    def denoiser(self, net: Network | None = None) -> Denoiser:
        """Return the network with the meaning of its output."""
        return Denoiser(
            net or self.net,
            self.path,
            self.objective.prediction_type,
            bool(self.config.precondition),
        )

    def features(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Return condition features (B, C) of obs[key] (B, O, ...) in robot units.

        Pictures are at the size of `seen`, or further on, as `ObservationEncoder.look` says.
        """
        return self.encoder(self.normaliser.encode_observations(obs))

    def loss(
        self,
        batch: Mapping[str, Tensor],
        generator: Generator,
        noise_levels: int = 1,
        state_noise: float = 0.0,
    ) -> Tensor:
        """Return the loss of batch[key] (B, O, ...) and batch["action"] (B, H, A), in robot units.

        It is (B noise_levels,): each observation is encoded once and serves for so many noise
        levels. state_noise: deviation of noise on the states, whose range is 2. batch["noise"]
        (B, H, noise_size), where there is one: the noise from which a teacher made the action.
        batch["recorded"] (B, H, 1), where there is one: which of the actions count.
        With net.prefix half of the chunks begin with a prefix, which does not count.
        """
        x0 = self.normaliser.encode_chunks(batch["action"], batch)
        encoded = self.normaliser.encode_observations(batch)
        if state_noise:
            encoded = self._disturb_states(encoded, state_noise, generator)
        features = self.encoder(encoded)
        given = {key: batch[key] for key in ("noise", "recorded") if key in batch}
        if noise_levels > 1:
            x0 = x0.repeat_interleave(noise_levels, 0)
            features = features.repeat_interleave(noise_levels, 0)
            for key, tensor in given.items():
                given[key] = tensor.repeat_interleave(noise_levels, 0)
        if self.config.net.prefix:
            prefix_length = self.draw_prefix_length(len(x0), generator)
            condition = self.net.condition(features, x0, prefix_length)
        else:
            condition = self.net.condition(features)
        return self.objective.loss(self.denoiser(), x0, condition, generator, **given)

    def _disturb_states(
        self, encoded: Mapping[str, Tensor], deviation: float, generator: Generator
    ) -> dict[str, Tensor]:
        disturbed = dict(encoded)
        for key in self.spec.states:
            x = encoded[key]
            noise = torch.randn(x.shape, generator=generator, device=generator.device)
            disturbed[key] = x + deviation * noise.to(x)
        return disturbed

    def _require_visible(self) -> None:
        """Raise ConfigError for pictures so small that a keypoint could lie in one place only."""
        images = self.config.encoders.images
        for camera, seen in self.seen.images.items():
            height, width, _ = seen.shape
            stride = self.encoder.encoder_of(camera).stride
            smallest = min(crop_size(height, width, images.crop))
            if smallest <= stride:
                raise ConfigError(
                    f"of camera {camera!r} only {smallest} px are seen, and {images.name} needs "
                    f"more than {stride}: set a larger images.side or images.crop"
                )

    def draw_prefix_length(self, count: int, generator: Generator) -> Tensor:
        """Draw prefix lengths (count,) to train with: 0 in half the chunks, else up to the longest.

        After training-time real-time chunking (arXiv 2512.05964).
        """
        longest = self.config.longest_prefix
        u = torch.rand(count, generator=generator, device=generator.device)
        return ((2 * u - 1) * longest).ceil().clamp(min=0).to(self.device)

    @torch.no_grad()
    def act(
        self,
        obs: Mapping[str, Tensor],
        noise: Tensor,
        prefix: Tensor | None = None,
        prefix_length: Tensor | None = None,
        sampler: Sampler | None = None,
        net: Network | None = None,
    ) -> Tensor:
        """Return chunks (B, H, A) in robot units.

        obs[key]: (B, O, ...). noise: (K, B, H, noise_size) with K = sampler.noises. prefix:
        (B, H, A), actions that are promised already, the first prefix_length (B,) of each chunk.
        sampler: by default the policy's own. net: what stands for the network, by default itself.
        """
        encoded_prefix = None if prefix is None else self.normaliser.encode_chunks(prefix, obs)
        condition = self.net.condition(self.features(obs), encoded_prefix, prefix_length)
        x = sample(self.denoiser(net), sampler or self.config.drawn_by, noise, condition)
        actions = self.normaliser.decode_chunks(x, obs)
        if prefix is None:
            return actions
        return replace(condition, prefix=prefix.to(actions)).impose(actions)

    @torch.no_grad()
    def with_prefix(self) -> Policy:
        """Return the same policy with an input for a prefix, which it does not heed yet."""
        if self.config.net.prefix:
            return self
        net = replace(self.config.net, prefix=True)
        other = Policy(self.spec, replace(self.config, net=net), self.normaliser)
        old = self.state_dict()
        missing = other.state_dict().keys() - old.keys()
        if missing:
            raise ConfigError(
                f"a network of these channels cannot be given a prefix: it has no {names(missing)}"
            )
        for key, weight in other.state_dict().items():
            if weight.shape != old[key].shape:
                weight.zero_()
            corner = tuple(slice(size) for size in old[key].shape)
            weight[corner] = old[key]
        return other

    def with_sampler(self, sampler: Sampler) -> Policy:
        """Return the same weights with another sampler as their own."""
        other = Policy(self.spec, replace(self.config, sampler=sampler), self.normaliser)
        other.encoder = self.encoder
        other.net = self.net
        return other
