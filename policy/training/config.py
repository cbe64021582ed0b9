"""The settings of a training."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...envs import ConfigError
from ..policy import PolicyConfig
from .augmentation import AugmentationConfig
from .emphasis import require_emphasis


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
    states: tuple[str, ...] | None = None  # fields that are learnt from; by default all but images
    cameras: tuple[str, ...] | None = None  # cameras that are learnt from; by default all
    # what image encoders begin with: a file (safetensors, pth, pt or bin), or the folder of a vit
    weights: str = ""
    # learning rate of what has weights from a file, as a share of lr; 0 keeps it as it is
    weights_rate: float = 0.1
    views: int = 4  # in which each picture is learnt where weights_rate is 0, changed at random
    noise_levels: int = 1  # at which each window is learnt in a step, its pictures encoded once
    augment: AugmentationConfig = field(default_factory=AugmentationConfig)  # changes at random
    # how often windows are learnt from, 1 unless said: by who acts there (policy, operator, expert,
    # unknown), and by how the episode ended (success, failure, unjudged); 0 leaves them out
    emphasis: dict[str, float] = field(default_factory=dict)
    held_out: float = 0.04  # share of episodes that are not trained on but measure the loss
    seed: int = 0  # of all that is drawn
    # [s] between two saves of the unfinished run, or longer where saving would take more than a
    # fiftieth of the time; 0 saves after every step
    save_seconds: float = 60.0
    log_every: int = 100  # [steps] between two rows of the log
    # products in bfloat16, where the processor has it; a policy acts in float32 all the same
    bfloat16: bool = True
    compile: bool = False  # the network with torch.compile
    threads: int = 0  # of the CPU; 0 tries which is fastest here; last bits depend on it
    model: PolicyConfig = field(default_factory=PolicyConfig)  # what is trained

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "noise_levels", "views", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        require_emphasis(self.emphasis)
        if self.threads < 0:
            raise ConfigError(f"threads must be at least 0, not {self.threads}")
