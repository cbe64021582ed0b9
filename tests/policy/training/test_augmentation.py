"""Augmentation: what it changes, and what it leaves."""

from dataclasses import replace

import pytest
import torch

from fewstep.envs import ConfigError, Field, Spec
from fewstep.policy.networks.encoders.pictures import prepare
from fewstep.policy.training.augmentation import AugmentationConfig, augment, colour

SPEC = Spec(
    {"joints": Field((3,), "rad"), "front": Field((20, 30, 3), kind="image")},
    {"joints": Field((3,), "rad")},
    policy_hz=10,
)
STILL = AugmentationConfig(crop=False)
LIVELY = AugmentationConfig(brightness=0.3, contrast=0.4, saturation=0.5, hue=0.08)


def batch(count: int = 16) -> dict[str, torch.Tensor]:
    """Histories of two pictures, the second of which is the first."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(256, (count, 1, 20, 30, 3), generator=generator, dtype=torch.uint8)
    return {"joints": torch.randn(count, 2, 3), "front": first.expand(-1, 2, -1, -1, -1)}


def changed(config: AugmentationConfig, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment(batch(), SPEC, config, 0.8, generator)["front"]


def test_without_changes_it_is_what_acting_sees() -> None:
    assert torch.equal(changed(STILL), prepare(batch()["front"], 0.8))


def test_a_crop_is_one_place_for_all_of_a_history_and_another_for_each_sample() -> None:
    pictures = changed(AugmentationConfig())
    assert pictures.shape == (16, 2, 3, 16, 24)
    assert torch.equal(pictures[:, 0], pictures[:, 1])
    places = set()
    whole = batch()["front"][:, 0].movedim(-1, -3).float() / 255
    for index, picture in enumerate(pictures[:, 0]):
        for top in range(5):
            for left in range(7):
                if torch.equal(whole[index, :, top : top + 16, left : left + 24], picture):
                    places.add((top, left))
    assert len(places) > 8


@pytest.mark.parametrize("config", [AugmentationConfig(), LIVELY])
def test_the_generator_alone_decides(config: AugmentationConfig) -> None:
    assert torch.equal(changed(config), changed(config))
    assert not torch.equal(changed(config), changed(config, seed=1))


@pytest.mark.parametrize("part", ["brightness", "contrast", "saturation", "hue"])
def test_each_colour_change_changes_and_stays_a_picture(part: str) -> None:
    pictures = changed(replace(STILL, **{part: 0.5}))
    assert not torch.allclose(pictures, changed(STILL))
    assert pictures.min() >= 0 and pictures.max() <= 1
    assert torch.equal(pictures[:, 0], pictures[:, 1])


def test_grey_has_no_hue_to_turn_and_no_saturation_to_stretch() -> None:
    grey = torch.rand(4, 1, 1, 8, 8).expand(-1, -1, 3, -1, -1)
    turned = colour(grey, replace(STILL, hue=0.5, saturation=1.0), torch.Generator())
    assert torch.allclose(turned, grey, atol=2e-3)


def test_states_stay_as_they_are() -> None:
    given = batch()
    out = augment(given, SPEC, LIVELY, 0.8, torch.Generator())
    assert out["joints"] is given["joints"]


def test_shares_outside_of_nought_to_one_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"augment\.hue must lie between 0 and 1, not 2"):
        AugmentationConfig(hue=2)
