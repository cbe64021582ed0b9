"""Training on what cameras see."""

import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from training_runs import CONFIG, TINY, finished, weights

from fewstep.demos.episode import Episode
from fewstep.demos.store import DemoStore
from fewstep.envs import CheckpointError, ConfigError, DataError, Field, Spec
from fewstep.policy.checkpoint import load_policy
from fewstep.policy.networks.encoders.config import EncoderConfig, ImageConfig
from fewstep.policy.networks.encoders.resnet import ResNet18
from fewstep.policy.training.augmentation import AugmentationConfig
from fewstep.policy.training.caching.image_cache import cache_folder
from fewstep.policy.training.distill import LabelConfig, distill
from fewstep.policy.training.state import TrainState
from fewstep.policy.training.train import train

SPEC = Spec(
    {
        "pose": Field((2,), "m"),
        "load": Field((1,), "N"),
        "front": Field((50, 70, 3), kind="image"),
        "wrist": Field((40, 40, 3), kind="image"),
    },
    {"reach": Field((2,), "m")},
    policy_hz=10,
)
MODEL = replace(TINY, encoders=EncoderConfig(images=ImageConfig(width=4, features=4, keypoints=4)))
SEEING = replace(CONFIG, steps=8, log_every=2, model=MODEL, noise_levels=2)


def make(seed: int, frames: int = 12) -> Episode:
    """A bright spot in both pictures is where the arm reaches for."""
    rng = np.random.default_rng(seed)
    spots = np.tile(rng.uniform(0.2, 0.8, 2), (frames, 1))
    data = {
        "pose": rng.normal(size=(frames, 2)),
        "load": rng.normal(size=(frames, 1)),
        "action": spots,
        "time": np.arange(frames) / 10,
    }
    for camera, field in SPEC.images.items():
        pictures = np.zeros((frames, *field.shape), np.uint8)
        for picture, (x, y) in zip(pictures, spots, strict=True):
            picture[int(y * len(picture)) - 3 :, int(x * picture.shape[1]) - 3 :][:6, :6] = 255
        data[camera] = pictures
    return Episode(data, SPEC)


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cameras") / "demos"
    with DemoStore.create(path, SPEC) as store:
        store.append(*(make(seed) for seed in range(4)))
    return path


@pytest.fixture(scope="module")
def whole(demos: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights that an undisturbed training ends in."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(demos, out, SEEING)
    return weights(out)


def test_it_says_what_it_sees_and_what_it_leaves_out(demos: Path, tmp_path: Path) -> None:
    said: list[str] = []
    config = replace(SEEING, states=("pose",), cameras=("wrist",))
    policy = train(demos, tmp_path, config, log=said.append)
    assert said[0] == "trains on pose, sees wrist; leaves out front, load"
    assert said[-1].startswith("pictures take ") and str(cache_folder(demos)) in said[-1]
    assert list(policy.spec.observations) == ["pose", "wrist"]
    assert load_policy(tmp_path).spec == policy.spec


def test_pictures_alone_are_enough(demos: Path, tmp_path: Path) -> None:
    policy = train(demos, tmp_path, replace(SEEING, states=()))
    assert list(policy.spec.observations) == ["front", "wrist"]
    assert finished(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": ("left",)}, "unknown camera 'left'; valid: front, wrist"),
        ({"states": ("front",)}, "unknown state 'front'; valid: load, pose"),
        ({"cameras": (), "states": ()}, "nothing to learn from"),
        ({"cameras": (), "weights": "w.pth"}, "weights= is for cameras"),
    ],
)
def test_fields_that_are_not_there_are_refused(
    demos: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(demos, tmp_path / "out", replace(SEEING, **changes))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("step", [1, 4, 7])
def test_interrupted_and_started_again_it_ends_in_the_same_weights(
    demos: Path, tmp_path: Path, whole: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_step = TrainState.take_step
    taken = []

    def interrupted(self, *given):
        taken.append(1)
        if len(taken) == step:
            signal.raise_signal(signal.SIGINT)
        return take_step(self, *given)

    monkeypatch.setattr(TrainState, "take_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(demos, tmp_path, SEEING)
    train(demos, tmp_path, SEEING)
    assert weights(tmp_path) == whole


def test_every_change_at_random_is_learnt_with(demos: Path, tmp_path: Path, whole: str) -> None:
    lively = AugmentationConfig(
        brightness=0.3, contrast=0.4, saturation=0.5, hue=0.08, state_noise=0.1
    )
    for name in ("first", "second"):
        train(demos, tmp_path / name, replace(SEEING, augment=lively))
    assert weights(tmp_path / "first") == weights(tmp_path / "second") != whole


def test_it_learns_where_the_spot_is(demos: Path, tmp_path: Path) -> None:
    losses = []
    model = replace(MODEL, net=replace(TINY.net, channels=(16, 32), condition=16))
    config = replace(SEEING, steps=150, log_every=10, states=(), cameras=("front",), model=model)
    train(demos, tmp_path, config, report=lambda row: losses.append(row["loss"]))
    assert np.mean(losses[-3:]) < 0.6 * losses[0]


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_given_weights_stay_or_learn_slowly(demos: Path, tmp_path: Path, rate: float) -> None:
    torch.manual_seed(0)
    given = ResNet18(ImageConfig(width=4, norm="frozen")).state_dict()
    file = tmp_path / "given.safetensors"
    save_file(given, file)
    config = replace(SEEING, weights=str(file), weights_rate=rate)
    policy = train(demos, tmp_path / "run", config)
    images = policy.config.encoders.images
    assert images.norm == "frozen" and images.mean == (0.485, 0.456, 0.406)
    for camera in ("front", "wrist"):
        learnt = policy.encoder.encoder_of(camera).backbone.state_dict()
        moved = (learnt["conv1.weight"] - given["conv1.weight"]).abs().max()
        assert (moved == 0) == (rate == 0) and moved < 0.1
        assert torch.equal(learnt["bn1.running_mean"], given["bn1.running_mean"])


def test_weights_of_another_model_are_refused_before_anything_is_written(
    demos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"conv1.weight": torch.zeros(4, 3, 7, 7)}, file)
    with pytest.raises(CheckpointError, match="it lacks bn1"):
        train(demos, tmp_path / "run", replace(SEEING, weights=str(file)))
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_seen_is_refused_before_pictures_are_decoded(
    demos: Path, tmp_path: Path
) -> None:
    store = shutil.copytree(demos, tmp_path / "demos")
    tiny = EncoderConfig(images=ImageConfig(side=32))
    with pytest.raises(ConfigError, match=r"set a larger images\.side"):
        train(store, tmp_path / "run", replace(SEEING, model=replace(MODEL, encoders=tiny)))
    assert not cache_folder(store).exists()


def test_a_policy_that_looks_goes_on_with_the_cameras_that_it_has(
    demos: Path, tmp_path: Path
) -> None:
    first = train(demos, tmp_path / "first", replace(SEEING, cameras=("wrist",)))
    second = train(demos, tmp_path / "second", SEEING, start=tmp_path / "first")
    assert second.spec == first.spec


def test_a_student_learns_what_its_teacher_sees(demos: Path, tmp_path: Path) -> None:
    teacher = train(demos, tmp_path / "teacher", SEEING)
    labels = LabelConfig(copies=1, network_evaluations=2)
    student = distill(tmp_path / "teacher", demos, tmp_path / "student", labels, SEEING)
    assert student.spec == teacher.spec and student.config.drawn_by.cost == 1
    for name, weight in teacher.encoder.cameras.state_dict().items():
        assert torch.equal(student.encoder.cameras.state_dict()[name], weight)


def test_what_a_frozen_backbone_sees_is_kept_and_found_again(
    demos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    file = tmp_path / "given.safetensors"
    save_file(ResNet18(ImageConfig(width=4, norm="frozen")).state_dict(), file)
    frozen = replace(SEEING, weights=str(file), weights_rate=0.0, views=2)
    looks = []

    def count(camera: str, done: int, total: int) -> None:
        looks.append((camera, done, total))

    train(demos, tmp_path / "first", frozen, on_frames=count)
    assert ("front", 48, 48) in looks and ("wrist", 48, 48) in looks
    looks.clear()
    train(demos, tmp_path / "second", frozen, on_frames=count)
    assert not looks
    assert weights(tmp_path / "second") == weights(tmp_path / "first")
    lively = replace(frozen, augment=AugmentationConfig(hue=0.2))
    train(demos, tmp_path / "third", lively, on_frames=count)
    assert looks
    for maps in cache_folder(demos).glob("*.maps"):
        maps.write_bytes(maps.read_bytes()[:-1])  # cut off
    looks.clear()
    train(demos, tmp_path / "fourth", frozen, on_frames=count)
    assert looks and weights(tmp_path / "fourth") == weights(tmp_path / "first")


def test_maps_that_fit_no_disk_are_refused(
    demos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(demos, tmp_path / "pictures", SEEING)  # so that these are cached
    file = tmp_path / "given.safetensors"
    save_file(ResNet18(ImageConfig(width=4, norm="frozen")).state_dict(), file)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    config = replace(SEEING, weights=str(file), weights_rate=0.0, views=7)
    with pytest.raises(DataError, match=r"frozen encoder makes of front takes .* fewer views="):
        train(demos, tmp_path / "run", config)
    assert not (tmp_path / "run").exists()
