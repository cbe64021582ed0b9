"""Weights that an image encoder begins with, from a file that runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn

from ....envs import CheckpointError
from ....envs.errors import names, refusing
from ....envs.tables import read_json
from .config import IMAGENET_DEVIATION, IMAGENET_MEAN, ImageConfig
from .vit import VisionTransformer, choose_facts

STATE_FILES = (".pth", ".pt", ".bin")
FIRST = ("conv1.weight", "conv_stem.weight")  # with which the networks begin


def describe_weights(path: Path | str, images: ImageConfig) -> ImageConfig:
    """Return how pictures are seen with the weights of a file, or of a vision transformer's folder.

    Statistics are those that come with them. Unless the settings say otherwise, mean and deviation
    are those of ImageNet, or what a preprocessor_config.json in the folder says.
    """
    path = Path(path)
    images = replace(images, norm="frozen")
    mean = IMAGENET_MEAN
    deviation = IMAGENET_DEVIATION
    if path.is_dir():
        described = read_json(path / "config.json", CheckpointError, inside=path)
        facts = choose_facts(described.get("vision_config") or described)
        images = replace(images, name="vit", vit=facts)
        preprocessor = path / "preprocessor_config.json"
        if preprocessor.exists():
            said = read_json(preprocessor, CheckpointError, inside=path)
            mean = tuple(said.get("image_mean", mean))
            deviation = tuple(said.get("image_std", deviation))
    is_default = images.mean == ImageConfig.mean and images.deviation == ImageConfig.deviation
    return replace(images, mean=mean, deviation=deviation) if is_default else images


def load_weights(backbone: nn.Module, path: Path | str) -> None:
    """Give the backbone of an image encoder the weights of a file, or of a transformer's folder.

    The file is safetensors, or a state file of PyTorch, which is read without running anything. All
    names may begin alike, as in "backbone."; weights that the backbone has not, such as those of
    classes, are left out. Raises CheckpointError where the file is neither, or of another network.
    """
    path = Path(path)
    if isinstance(backbone, VisionTransformer):
        backbone.load(path)
        return
    tensors = _find_prefixed(_read(path))
    wanted = backbone.state_dict()
    missing = wanted.keys() - tensors.keys()
    if missing:
        raise CheckpointError(
            f"{path} holds no weights for this network: it lacks {names(sorted(missing)[:5])}"
            f"{' and others' if len(missing) > 5 else ''}"
        )
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: {name} is {tuple(tensors[name].shape)}, "
                f"expected {tuple(tensor.shape)}: set images.width to that of the weights"
            )
        if not tensors[name].isfinite().all():
            raise CheckpointError(f"{path}: {name} holds numbers that are not finite")
    backbone.load_state_dict({name: tensors[name] for name in wanted})


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix not in (".safetensors", *STATE_FILES):
        valid = names([".safetensors", *STATE_FILES])
        raise CheckpointError(f"{path} is no file of weights: its name must end in one of {valid}")
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    with refusing(CheckpointError, f"{path} holds no weights that can be read safely"):
        if path.suffix == ".safetensors":
            return load(path.read_bytes())
        found = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
            found = found["state_dict"]
        tensors: dict[str, Tensor] = {}
        for name, value in found.items():
            if isinstance(value, Tensor):
                tensors[name] = value
        return tensors


def _find_prefixed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names that the encoders use, of the part that begins with FIRST.

    Underscores before a part of a name are left out.
    """
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain[".".join(part.lstrip("_") for part in name.split("."))] = tensor
    prefixes: list[str] = []
    for first in FIRST:
        prefixes += [name.removesuffix(first) for name in plain if name.endswith(first)]
    prefix = min(prefixes, key=len, default="")
    found: dict[str, Tensor] = {}
    for name, tensor in plain.items():
        if name.startswith(prefix):
            found[name.removeprefix(prefix)] = tensor
    return found
