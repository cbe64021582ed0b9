"""What a page shows of a policy's eyes is what goes into its network."""

from base64 import b64decode
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from fewstep.envs import Field, Spec
from fewstep.policy.evaluation.sight import (
    ENLARGED,
    draw_sight,
    find_places,
    find_sights,
    mark_sight,
)
from fewstep.policy.networks.encoders.config import EncoderConfig, ImageConfig
from fewstep.policy.networks.temporal_unet import UnetConfig
from fewstep.policy.policy import Policy, PolicyConfig

SPEC = Spec({"front": Field((100, 160, 3), kind="image")}, {"x": Field((1,), "m")}, policy_hz=10)


def policy() -> Policy:
    torch.manual_seed(0)
    images = ImageConfig(side=100, crop=0.96, width=4, keypoints=3, features=4)
    net = UnetConfig(channels=(8, 16), kernel=3, groups=2, time_size=8, condition=8)
    config = PolicyConfig(horizon=8, net=net, encoders=EncoderConfig(images=images))
    return Policy(SPEC, config).eval()


def test_a_picture_is_shown_as_it_is_seen_cropped_and_enlarged() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 100, 160, 3), np.uint8)
    image = Image.open(BytesIO(b64decode(draw_sight(policy(), "front", picture)[0])))
    assert image.size == (154 * ENLARGED, 96 * ENLARGED)
    shown = np.asarray(image)[ENLARGED // 2 :: ENLARGED, ENLARGED // 2 :: ENLARGED]
    middle = picture[0, 2:98, 3:157]
    assert (shown == middle).all(-1).mean() > 0.8  # all but the marks


def test_marks_stand_where_the_maps_are_bright() -> None:
    looking = policy()
    encoder = looking.encoder.encoder_of("front")
    bright = torch.zeros(1, 3, 3, 5)
    bright[0, 0, 2, 4] = 99  # the last place of the maps: the middle of its 32 px

    def attend(pictures: torch.Tensor) -> torch.Tensor:
        return bright.flatten(2).softmax(-1).view(bright.shape)

    encoder.attention = attend
    places, certainty = find_places(looking, "front", torch.zeros(1, 3, 96, 160))
    assert np.allclose(places[0, 0], [4.5 * 32, 2.5 * 32])
    assert np.allclose(places[0, 1], [80, 48]) and np.allclose(certainty[0], [1, 0, 0], atol=1e-6)


def test_view_shows_a_stored_picture_as_it_is_seen() -> None:
    [sight] = find_sights(policy())
    assert (sight.camera, sight.title) == ("front", "front, as seen")
    picture = np.random.default_rng(0).integers(0, 256, (100, 160, 3), np.uint8)
    drawn = sight.draw(picture)
    assert drawn.shape == (*sight.size, 3) == (96 * ENLARGED, 154 * ENLARGED, 3)
    assert np.array_equal(drawn, np.asarray(mark_sight(policy(), "front", picture[None])[0]))
