"""The shape of a temporal U-Net; known without torch, as robots without it need."""

from __future__ import annotations

from dataclasses import dataclass

from ...envs import ConfigError


@dataclass(frozen=True)
class UnetConfig:
    """The shape of a TemporalUnet."""

    channels: tuple[int, ...] = (32, 64, 128)  # per level; from one to the next H is halved
    kernel: int = 5  # [actions] width of the convolutions
    groups: int = 8  # of GroupNorm
    time_size: int = 64  # numbers that embed the diffusion time
    condition: int = 256  # C, numbers that describe the observation
    prefix: bool = False  # an input that marks the actions of a prefix

    def __post_init__(self) -> None:
        for name in ("groups", "time_size", "condition"):
            value = getattr(self, name)
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        if self.time_size % 2:
            raise ConfigError(f"time_size must be even, not {self.time_size}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"kernel must be odd, not {self.kernel}")
        if not self.channels or min(self.channels) < 1:
            raise ConfigError(
                f"channels must be positive numbers, one per level, not {self.channels}"
            )
        for count in self.channels:
            if count % self.groups:
                raise ConfigError(
                    f"channels {self.channels} must be multiples of groups ({self.groups})"
                )

    def require_horizon(self, horizon: int) -> None:
        """Raise ConfigError where a network of this shape cannot have this horizon."""
        factor = 2 ** (len(self.channels) - 1)
        if horizon < 1 or horizon % factor:
            raise ConfigError(
                f"horizon {horizon} must be a multiple of {factor} for {len(self.channels)} levels"
            )
        if min(self.channels) // self.groups * (horizon // factor) < 2:
            raise ConfigError(
                "fewer than two values per GroupNorm group: use fewer groups or a longer horizon"
            )
