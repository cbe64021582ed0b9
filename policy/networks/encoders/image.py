"""The encoder of one camera: a backbone, a pool of its maps, and a linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from ....envs.errors import pick
from .config import ImageConfig
from .efficientnet import EfficientNetLite0
from .pools import AttentionPool, SpatialSoftmax
from .resnet import ResNet18
from .vit import VisionTransformer

BACKBONES = {
    "resnet": ResNet18,
    "efficientnet": EfficientNetLite0,
    "vit": VisionTransformer,
}


class ImageEncoder(nn.Module):
    """Pictures to features, by way of where things are: maps are never averaged over places."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        backbone = pick(BACKBONES, config.name, "image encoder")(config)
        self.backbone: nn.Module = backbone
        self.stride = backbone.stride
        pool = AttentionPool if config.name == "vit" else SpatialSoftmax
        self.pool = pool(backbone.channels, config.keypoints)
        self.out = nn.Linear(self.pool.size, config.features)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return features (n, F) of pictures (n, 3, h, w), centred."""
        return self.read(self.backbone(pictures))

    def read(self, maps: Tensor) -> Tensor:
        """Return features (n, F) of the backbone's maps (n, channels, h', w')."""
        return self.out(self.pool(maps))

    def attention(self, pictures: Tensor) -> Tensor:
        """Return where the pool looks, (n, K, h', w'), in pictures (n, 3, h, w), centred."""
        return self.pool.attention(self.backbone(pictures))
