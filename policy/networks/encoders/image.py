"""The encoder of one camera: a backbone, keypoints in its maps, and a linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from ....envs.errors import pick
from .config import ImageConfig
from .efficientnet import EfficientNetLite0
from .keypoints import SpatialSoftmax
from .resnet import ResNet18

BACKBONES = {"resnet": ResNet18, "efficientnet": EfficientNetLite0}


class ImageEncoder(nn.Module):
    """Pictures to features, by way of where things are: maps are never averaged over places."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        backbone = pick(BACKBONES, config.name, "image encoder")(config)
        self.backbone: nn.Module = backbone
        self.stride = backbone.stride
        self.keypoints = SpatialSoftmax(backbone.channels, config.keypoints)
        self.out = nn.Linear(2 * config.keypoints, config.features)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return features (n, F) of pictures (n, 3, h, w), centred."""
        return self.read(self.backbone(pictures))

    def read(self, maps: Tensor) -> Tensor:
        """Return features (n, F) of the backbone's maps (n, channels, h', w')."""
        return self.out(self.keypoints(maps))

    def attention(self, pictures: Tensor) -> Tensor:
        """Return where each keypoint looks, (n, K, h', w'), in pictures (n, 3, h, w), centred."""
        return self.keypoints.attention(self.backbone(pictures))
