"""Vision transformers from a local folder, as the transformers library saves them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fewstep.envs import CheckpointError, ConfigError, Field, Spec
from fewstep.policy.checkpoint import load_policy, save_policy
from fewstep.policy.networks.encoders.config import IMAGENET_MEAN, EncoderConfig, ImageConfig
from fewstep.policy.networks.encoders.image import ImageEncoder
from fewstep.policy.networks.encoders.weights import describe_weights, load_weights
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def dinov2() -> Any:
    config = transformers.Dinov2Config(**SMALL, image_size=28, patch_size=14)
    return transformers.Dinov2Model(config)


def registers() -> Any:
    config = transformers.Dinov2WithRegistersConfig(**SMALL, image_size=28, patch_size=14)
    return transformers.Dinov2WithRegistersModel(config)


def siglip() -> Any:
    facts = {**SMALL, "intermediate_size": 32, "image_size": 32, "patch_size": 16}
    return transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**facts))


@pytest.fixture(params=[dinov2, registers, siglip])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    """A network and the folder into which transformers has saved it."""
    torch.manual_seed(0)
    network = request.param().eval()
    network.save_pretrained(tmp_path / "vit")
    return network, tmp_path / "vit"


def test_its_patches_are_what_the_library_makes_of_them(saved: tuple[Any, Path]) -> None:
    network, folder = saved
    images = describe_weights(folder, ImageConfig(features=5, keypoints=3))
    encoder = ImageEncoder(images).eval()
    load_weights(encoder.backbone, folder)
    patch = encoder.stride
    pictures = torch.randn(2, 3, 3 * patch, 4 * patch)
    asked = {"interpolate_pos_encoding": True} if "siglip" in images.vit["model_type"] else {}
    with torch.no_grad():
        tokens = network(pictures, **asked).last_hidden_state[:, -12:]
        maps = encoder.backbone(pictures)
        odd = encoder.backbone(torch.nn.functional.pad(pictures, (0, 5, 0, 3)))
    assert maps.shape == (2, 16, 3, 4)
    assert torch.equal(maps.flatten(2).transpose(1, 2), tokens)
    assert torch.equal(odd, maps)  # what is less than a patch is not seen
    assert encoder(pictures).shape == (2, 5)
    attention = encoder.attention(pictures)
    assert attention.shape == (2, 3, 3, 4)
    assert torch.allclose(attention.sum((2, 3)), torch.ones(2, 3))


def test_it_is_described_by_plain_facts_alone(saved: tuple[Any, Path]) -> None:
    _, folder = saved
    described = json.loads((folder / "config.json").read_text())
    described |= {"auto_map": {"AutoModel": "evil.py"}, "_attn_implementation": "evil"}
    (folder / "config.json").write_text(json.dumps(described))
    images = describe_weights(folder, ImageConfig())
    assert images.name == "vit" and images.mean == IMAGENET_MEAN
    assert not {"auto_map", "_attn_implementation"} & images.vit.keys()
    json.dumps(images.vit)


def test_its_own_mean_and_deviation_are_taken(saved: tuple[Any, Path]) -> None:
    _, folder = saved
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    images = describe_weights(folder, ImageConfig())
    assert images.mean == (0.1, 0.2, 0.3) and images.deviation == (0.4, 0.5, 0.6)
    own = ImageConfig(mean=(0.0, 0.0, 0.0))
    assert describe_weights(folder, own).mean == (0.0, 0.0, 0.0)


def test_a_folder_without_weights_or_of_another_network_is_refused(
    saved: tuple[Any, Path], tmp_path: Path
) -> None:
    _, folder = saved
    encoder = ImageEncoder(describe_weights(folder, ImageConfig()))
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights for this network"):
        load_weights(encoder.backbone, folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 4}))
    with pytest.raises(ConfigError, match="does not say patch_size"):
        describe_weights(other, ImageConfig())
    (other / "config.json").write_text(
        json.dumps({"model_type": "bert", "hidden_size": 4, "patch_size": 2})
    )
    with pytest.raises(ConfigError, match=r"unknown vision transformer .* 'bert'; valid: dinov2"):
        ImageEncoder(describe_weights(other, ImageConfig()))


def test_it_travels_with_the_checkpoint(saved: tuple[Any, Path], tmp_path: Path) -> None:
    _, folder = saved
    spec = Spec({"front": Field((64, 80, 3), kind="image")}, {"x": Field((1,), "m")}, policy_hz=10)
    images = describe_weights(folder, ImageConfig(features=5, keypoints=3))
    net = UnetConfig(channels=(8, 16), kernel=3, groups=2, time_size=8, condition=8)
    config = PolicyConfig(horizon=8, net=net, encoders=EncoderConfig(images=images))
    policy = Policy(spec, config).eval()
    policy.encoder.load_backbones(folder)
    save_policy(policy, tmp_path / "policy", {})
    policy.requires_grad_(False)  # as what is loaded: attention is computed in another way with it
    loaded = load_policy(tmp_path / "policy")
    seen = {"front": torch.randint(256, (2, 2, 64, 80, 3), dtype=torch.uint8)}
    with torch.no_grad():
        assert torch.equal(loaded.features(seen), policy.features(seen))
        backbones = [each.encoder.encoder_of("front").backbone for each in (loaded, policy)]
        native = torch.randn(2, 3, *[backbones[0].model.config.image_size] * 2)
        assert torch.equal(backbones[0](native), backbones[1](native))
