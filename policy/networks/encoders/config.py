"""What a policy's description says of its encoders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ....envs import ConfigError
from ....envs.errors import pick

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # red, green and blue of its pictures in [0, 1]
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
NORMS = ("group", "frozen")


@dataclass(frozen=True)
class ImageConfig:
    """How pictures are seen."""

    name: str = "resnet"  # the network: resnet (18), efficientnet (lite0) or vit
    side: int = 96  # [px] to which the shorter side of a larger picture is brought
    crop: float = 0.9  # share of height and width that the network sees
    frames: int = 1  # the newest pictures of each camera, at most observation_steps
    features: int = 64  # numbers that a picture becomes
    shared: bool = False  # one encoder for all cameras, in place of one for each
    width: int = 16  # of resnet: channels of its first stage, 64 in given weights
    keypoints: int = 32  # places that an encoder looks for
    # of vit: the network, as the config.json beside its weights describes it; filled from there
    vit: dict[str, Any] = field(default_factory=dict)
    norm: str = "group"  # group, or frozen: the statistics that came with given weights
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # of red, green and blue in [0, 1]
    deviation: tuple[float, float, float] = (0.5, 0.5, 0.5)  # by which they are divided

    def __post_init__(self) -> None:
        pick(dict.fromkeys(NORMS), self.norm, "norm of an image encoder")
        for name in ("side", "frames", "features", "width", "keypoints"):
            if getattr(self, name) < 1:
                raise ConfigError(f"images.{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.crop <= 1:
            raise ConfigError(f"images.crop must lie above 0 and at most at 1, not {self.crop:g}")


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder reads which observations."""

    states: str = "mlp"  # of all state fields together: mlp
    images: ImageConfig = field(default_factory=ImageConfig)  # of every camera

    def __post_init__(self) -> None:
        pick({"mlp": None}, self.states, "encoder of states")
