"""The encoder of observations: states and pictures become one vector of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ..layers import Mish
from .config import EncoderConfig
from .image import ImageEncoder
from .pictures import prepare
from .weights import load_weights


class ObservationEncoder(nn.Module):
    """The history of all states, and the features of all pictures, through a small MLP.

    Each camera has an image encoder of its own, or all share one.

    Args:
        states: Keys of the state fields, which have `state_size` encoded numbers in all.
        cameras: Keys of the image fields.
        observation_steps: Observations that a history holds.
        features: Numbers that come out.
    """

    def __init__(
        self,
        config: EncoderConfig,
        states: Sequence[str],
        state_size: int,
        cameras: Sequence[str],
        observation_steps: int,
        features: int,
    ) -> None:
        super().__init__()
        self._states = tuple(states)
        self._places = {}
        for index, camera in enumerate(cameras):
            self._places[camera] = 0 if config.images.shared else index
        self.config = config.images
        self.cameras = nn.ModuleList()
        for _ in {*self._places.values()}:
            self.cameras.append(ImageEncoder(config.images))
        frames = config.images.frames
        size = observation_steps * state_size + frames * len(cameras) * config.images.features
        self.layers = nn.Sequential(
            nn.Linear(size, features),
            Mish(),
            nn.Linear(features, features),
        )

    def forward(self, history: Mapping[str, Tensor]) -> Tensor:
        """Return features (B, C) of history[key]: states (B, O, width), and what `look` takes."""
        parts: list[Tensor] = []
        if self._states:
            states = torch.cat([history[key] for key in self._states], -1)  # (B, O, D)
            parts.append(torch.flatten(states, 1))
        for camera in self._places:
            parts.append(torch.flatten(self.look(camera, history[camera]), 1))
        return self.layers(torch.cat(parts, -1))

    def look(self, camera: str, pictures: Tensor) -> Tensor:
        """Return features (B, P, F) of the newest P pictures of a camera.

        pictures: (B, O, h, w, 3) uint8, of which the middle is seen; or any later stage: prepared
        ones (B, P, 3, h, w), the maps of the backbone (B, P, channels, h', w'), or features.
        """
        if pictures.ndim == 3:
            return pictures
        if not pictures.is_floating_point():
            pictures = prepare(pictures[:, -self.config.frames :], self.config.crop)
        encoder = self.encoder_of(camera)
        together = pictures.flatten(0, 1)
        if pictures.shape[2] == 3:
            features = encoder(self.centre(together))
        else:
            features = encoder.read(together)
        return features.unflatten(0, pictures.shape[:2])

    def encoder_of(self, camera: str) -> ImageEncoder:
        """Return the encoder of a camera's pictures."""
        return cast(ImageEncoder, self.cameras[self._places[camera]])

    def backbone_weights(self) -> list[nn.Parameter]:
        """Return the weights that a file may give."""
        weights: list[nn.Parameter] = []
        for encoder in self.cameras:
            weights += cast(ImageEncoder, encoder).backbone.parameters()
        return weights

    def load_backbones(self, path: Path | str) -> None:
        """Give every camera's backbone the weights of a file, as `load_weights` says."""
        first, *others = [cast(ImageEncoder, encoder).backbone for encoder in self.cameras]
        load_weights(first, path)
        for backbone in others:
            backbone.load_state_dict(first.state_dict())

    def centre(self, pictures: Tensor) -> Tensor:
        """Return pictures (n, 3, h, w) in [0, 1] about zero, as the weights expect them."""
        mean = torch.tensor(self.config.mean, device=pictures.device).view(3, 1, 1)
        deviation = torch.tensor(self.config.deviation, device=pictures.device).view(3, 1, 1)
        return ((pictures - mean) / deviation).to(next(self.parameters()).dtype)
