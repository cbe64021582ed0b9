"""The settings of a training."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...envs import ConfigError
from ..policy import PolicyConfig


@dataclass(frozen=True)
class TrainConfig:
    """How to train."""

    steps: int = 20_000  # of the optimiser
    batch: int = 256  # windows per step
    lr: float = 1e-3  # learning rate at its peak, after the warm-up and before a cosine to zero
    warmup: int = 500  # [steps] over which the learning rate rises from zero
    weight_decay: float = 1e-5  # of AdamW
    clip: float = 1.0  # largest norm of the gradient
    ema: float = 0.999  # decay of the averaged weights, which become the policy
    held_out: float = 0.04  # share of episodes that are not trained on but measure the loss
    seed: int = 0  # of all that is drawn
    save_seconds: float = 60.0  # [s] between two saves of the unfinished run
    log_every: int = 100  # [steps] between two rows of the log
    compile: bool = False  # the network with torch.compile
    threads: int = 0  # of the CPU; 0 tries which is fastest here; last bits depend on it
    model: PolicyConfig = field(default_factory=PolicyConfig)  # what is trained

    def __post_init__(self) -> None:
        for name, least in {"steps": 1, "batch": 1, "log_every": 1, "threads": 0}.items():
            value = getattr(self, name)
            if value < least:
                raise ConfigError(f"{name} must be at least {least}, not {value}")
