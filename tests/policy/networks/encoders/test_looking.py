"""A policy that looks: what reaches its encoders, and what it makes of it."""

from dataclasses import replace

import pytest
import torch

from fewstep.envs import CheckpointError, ConfigError, Field, Spec
from fewstep.policy.checkpoint import load_policy, require_match, save_policy
from fewstep.policy.networks.encoders.config import EncoderConfig, ImageConfig
from fewstep.policy.networks.encoders.pools import SpatialSoftmax
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

SPEC = Spec(
    {
        "joints": Field((3,), "rad"),
        "front": Field((72, 96, 3), kind="image"),
        "wrist": Field((60, 60, 3), kind="image"),
    },
    {"joints": Field((3,), "rad", measured_by="joints")},
    policy_hz=10,
)
IMAGES = ImageConfig(side=60, width=4, features=6, keypoints=5, crop=0.8)
NET = UnetConfig(channels=(8, 16), kernel=3, groups=2, time_size=8, condition=8)
SIZES = {"front": (60, 80), "wrist": (60, 60)}


def config(**changes: object) -> PolicyConfig:
    images = replace(IMAGES, **changes)
    return PolicyConfig(horizon=8, action_steps=4, net=NET, encoders=EncoderConfig(images=images))


def policy_of(spec: Spec = SPEC, **changes: object) -> Policy:
    torch.manual_seed(0)
    return Policy(spec, config(**changes)).eval()


def observation(count: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    obs = {"joints": torch.randn(count, 2, 3, generator=generator)}
    for camera, size in SIZES.items():
        shape = (count, 2, *size, 3)
        obs[camera] = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    return obs


def act(policy: Policy, obs: dict[str, torch.Tensor]) -> torch.Tensor:
    noise = torch.randn(1, len(obs["joints"]), 8, 3, generator=torch.Generator().manual_seed(1))
    return policy.act(obs, noise)


@pytest.mark.parametrize("name", ["resnet", "efficientnet"])
def test_acting_is_deterministic(name: str) -> None:
    policy = policy_of(name=name)
    assert torch.equal(act(policy, observation()), act(policy, observation()))


def test_cameras_keep_their_proportions_and_small_ones_their_size() -> None:
    seen = policy_of().seen
    assert seen.observations["front"].shape == (60, 80, 3)
    assert seen.observations["wrist"].shape == (60, 60, 3)
    assert policy_of(side=100).seen == SPEC


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_it_sees_exactly_the_centre_crop(camera: str) -> None:
    policy = policy_of()
    before = act(policy, observation())
    height, width = SIZES[camera]
    rows, columns = round(0.8 * height), round(0.8 * width)
    top, left = (height - rows) // 2, (width - columns) // 2
    border = observation()
    middle = border[camera][:, :, top : top + rows, left : left + columns].clone()
    border[camera].zero_()
    border[camera][:, :, top : top + rows, left : left + columns] = middle
    assert torch.equal(act(policy, border), before)
    for row, column in [(top, left), (top + rows - 1, left + columns - 1)]:
        corner = observation()
        corner[camera][:, :, row, column] ^= 255
        assert not torch.equal(act(policy, corner), before)


def test_it_sees_the_newest_pictures_only() -> None:
    policy = policy_of(frames=1)
    before = act(policy, observation())
    earlier = observation()
    earlier["front"][:, 0] = 0
    assert torch.equal(act(policy, earlier), before)
    both = policy_of(frames=2)
    assert not torch.equal(act(both, earlier), act(both, observation()))
    with pytest.raises(ConfigError, match="at most observation_steps"):
        config(frames=3)


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_a_dark_camera_changes_the_chunk(camera: str) -> None:
    policy = policy_of()
    dark = observation()
    dark[camera].zero_()
    assert not torch.allclose(act(policy, dark), act(policy, observation()))


def test_one_encoder_is_shared_or_each_camera_has_its_own() -> None:
    own = policy_of()
    shared = policy_of(shared=True)
    same = observation()["wrist"]
    assert torch.equal(shared.encoder.look("front", same), shared.encoder.look("wrist", same))
    assert not torch.equal(own.encoder.look("front", same), own.encoder.look("wrist", same))
    count = sum(weight.numel() for weight in own.encoder.cameras.parameters())
    assert count == 2 * sum(weight.numel() for weight in shared.encoder.cameras.parameters())


def test_a_later_stage_gives_the_same_features() -> None:
    policy = policy_of()
    obs = observation()
    features = policy.encoder.look("front", obs["front"])
    assert torch.equal(policy.encoder.look("front", features), features)
    assert torch.equal(act(policy, obs | {"front": features}), act(policy, obs))


def test_keypoints_move_as_the_picture_does() -> None:
    softmax = SpatialSoftmax(1, 1)
    with torch.no_grad():
        softmax.maps.weight.fill_(50.0)
    picture = torch.zeros(1, 1, 11, 21)
    picture[0, 0, 3, 5] = 1
    x, y = softmax(picture)[0].tolist()
    assert (x, y) == pytest.approx((2 * 5 / 20 - 1, 2 * 3 / 10 - 1), abs=1e-4)
    x, y = softmax(picture.roll((2, 4), (2, 3)))[0].tolist()
    assert (x, y) == pytest.approx((2 * 9 / 20 - 1, 2 * 5 / 10 - 1), abs=1e-4)


def test_what_it_sees_travels_with_the_checkpoint(tmp_path) -> None:
    policy = policy_of(mean=(0.1, 0.2, 0.3), deviation=(0.4, 0.5, 0.6), shared=True)
    save_policy(policy, tmp_path, {})
    loaded = load_policy(tmp_path)
    assert loaded.config == policy.config
    assert torch.equal(act(loaded, observation()), act(policy, observation()))


def test_a_robot_without_the_camera_or_of_another_size_is_refused() -> None:
    policy = policy_of()
    without = dict(SPEC.observations)
    del without["wrist"]
    with pytest.raises(CheckpointError, match="observation 'wrist' is missing"):
        require_match(policy, replace(SPEC, observations=without))
    larger = SPEC.observations | {"wrist": Field((80, 80, 3), kind="image")}
    with pytest.raises(CheckpointError, match=r"'wrist': shape is \(80, 80, 3\), expected \(60"):
        require_match(policy, replace(SPEC, observations=larger))


def test_several_noise_levels_share_one_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of()
    looks = []
    look = policy.encoder.look

    def counted(camera: str, pictures: torch.Tensor) -> torch.Tensor:
        looks.append(camera)
        return look(camera, pictures)

    monkeypatch.setattr(policy.encoder, "look", counted)
    batch = observation(3) | {"action": torch.zeros(3, 8, 3)}
    loss = policy.loss(batch, torch.Generator().manual_seed(0), noise_levels=4)
    assert loss.shape == (12,) and len(set(loss.tolist())) == 12
    assert looks == ["front", "wrist"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "vgg"}, "unknown image encoder 'vgg'; valid: efficientnet, resnet"),
        ({"norm": "batch"}, "unknown norm"),
        ({"crop": 0.0}, "crop must lie above 0"),
        ({"width": 0}, "width must be at least 1"),
        ({"side": 40}, "of camera 'front' only 32 px are seen, and resnet needs more than 32"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy_of(**changes)
