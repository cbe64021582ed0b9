"""What is wrong with pictures is seen, and what is not is not."""

import time

import numpy as np
import pytest

from fewstep.envs.cameras.camera_config import CameraConfig
from fewstep.envs.cameras.scrutiny import Scrutiny

CONFIG = CameraConfig("simulated", width=64, height=48)


def looked(pictures: list[np.ndarray], hz: float = 30.0) -> str:
    """What is said of the last of these pictures."""
    scrutiny = Scrutiny(CONFIG)
    said = ""
    for k, picture in enumerate(pictures):
        said = scrutiny.look(k / hz, picture)
    return said


def noise(count: int, low: int = 64, high: int = 192) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return list(rng.integers(low, high, (count, 48, 64, 3), np.uint8))


def test_pictures_in_time_are_well() -> None:
    assert looked(noise(90)) == ""


def test_a_dark_picture_that_shows_something_is_well() -> None:
    assert looked(noise(90, 0, 40)) == ""


@pytest.mark.parametrize(
    ("pictures", "hz", "said"),
    [
        (noise(30), 10.0, "gives 10.0 pictures a second, not 30"),
        (noise(30, 0, 5), 30.0, "is black"),
        ([noise(1)[0]] * 60, 30.0, "is frozen: its picture has not changed for 2.0 s"),
        ([noise(1)[0][::2, ::2]], 30.0, "gives pictures of 32x24 px, not 64x48"),
    ],
)
def test_what_is_wrong_is_told(pictures: list[np.ndarray], hz: float, said: str) -> None:
    assert looked(pictures, hz).startswith(said)


def test_a_single_pixel_that_changes_is_no_frozen_picture() -> None:
    pictures = [noise(1)[0].copy() for _ in range(60)]
    for k, picture in enumerate(pictures):
        picture[1, 1, 1] = k
    assert looked(pictures) == ""


def test_a_stamp_in_the_future_is_told_and_its_picture_not_used() -> None:
    scrutiny = Scrutiny(CONFIG)
    said = scrutiny.look(time.monotonic() + 1e9, noise(1)[0])
    assert said == "stamps its pictures 1e+09 s ahead of time.monotonic()"
    assert not scrutiny.usable


def test_black_for_a_moment_is_no_trouble() -> None:
    assert looked([*noise(30), *noise(10, 0, 5)]) == ""


def test_after_trouble_it_is_well_again() -> None:
    assert looked([*noise(30), *noise(30, 0, 5), *noise(1)]) == ""
