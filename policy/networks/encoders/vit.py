"""Vision transformers of the transformers library, up to the tokens of their patches."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....envs import CheckpointError, ConfigError
from ....envs.errors import names, pick, refusing
from .config import ImageConfig

# What a description may say of a network; all else of a config.json is left out.
FACTS = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "mlp_ratio",
    "image_size",
    "patch_size",
    "layer_norm_eps",
    "hidden_act",
    "qkv_bias",
    "layerscale_value",
    "use_swiglu_ffn",
    "num_register_tokens",
)


# DINOv2 (arXiv 2304.07193), with registers (2309.16588), and the part of SigLIP (2303.15343) that
# sees: names of the library's descriptions and networks.
MODELS = {
    "dinov2": ("Dinov2Config", "Dinov2Model"),
    "dinov2_with_registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel"),
    "siglip_vision_model": ("SiglipVisionConfig", "SiglipVisionModel"),
}
WITHOUT_HEAD = {"siglip_vision_model": {"vision_use_head": False}}
ANY_SIZE = {"siglip_vision_model": {"interpolate_pos_encoding": True}}  # the others do so unasked


class VisionTransformer(nn.Module):
    """Pictures to maps: the tokens of all patches, each at its place.

    config.vit describes the network, as the config.json beside its weights does.
    """

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        facts = choose_facts(config.vit)
        kind = facts.pop("model_type")
        description, network = pick(MODELS, kind, "vision transformer (model_type)")
        library = _import_transformers()
        self._network = getattr(library, network)
        self._description = getattr(library, description)(**facts, **WITHOUT_HEAD.get(kind, {}))
        self._asked = ANY_SIZE.get(kind, {})
        self.model: nn.Module = self._network(self._description)
        self.model.register_load_state_dict_post_hook(_number_positions)
        self.channels = int(facts["hidden_size"])
        self.stride = int(facts["patch_size"])

    def forward(self, pictures: Tensor) -> Tensor:
        """Return maps (n, hidden size, h / patch, w / patch) of pictures (n, 3, h, w)."""
        rows = pictures.shape[2] // self.stride
        columns = pictures.shape[3] // self.stride
        whole = pictures[:, :, : rows * self.stride, : columns * self.stride]
        tokens = self.model(whole, **self._asked).last_hidden_state
        patches = tokens[:, -rows * columns :]  # behind those of the whole picture
        return patches.transpose(1, 2).unflatten(2, (rows, columns))

    def load(self, folder: Path) -> None:
        """Take the weights of a folder that the library has saved; CheckpointError for others."""
        with refusing(CheckpointError, f"{folder} holds no weights for this network", folder):
            found, report = self._network.from_pretrained(
                folder,
                config=self._description,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
        if report["missing_keys"]:
            lacking = names(sorted(report["missing_keys"])[:5])
            raise CheckpointError(f"{folder} holds no weights for this network: it lacks {lacking}")
        self.model.load_state_dict(found.state_dict())


def _number_positions(model: nn.Module, _: object) -> None:
    """Number the positions of patches anew: they are no weights, and not saved with them."""
    for name, buffer in model.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1], device=buffer.device).expand_as(buffer))


def _import_transformers() -> Any:
    try:
        return import_module("transformers")
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'fewstep[vit]'") from error


def choose_facts(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return what describes a network; ConfigError where it is not enough."""
    facts = {key: described[key] for key in FACTS if key in described}
    missing = {"model_type", "hidden_size", "patch_size"} - facts.keys()
    if missing:
        raise ConfigError(
            f"images.vit does not say {names(missing)}: "
            "weights= is the folder of a vision transformer, with its config.json"
        )
    return facts
