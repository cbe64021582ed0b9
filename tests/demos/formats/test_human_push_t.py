"""Human Push-T becomes what gym-pusht observes, from states and from pictures."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from test_formats import buffer, numbers

from fewstep.demos.doctor.check import check
from fewstep.demos.formats import import_demonstrations
from fewstep.demos.formats.choosing import Choice
from fewstep.demos.formats.diffusion_policy.human_push_t import read_pixels
from fewstep.demos.store import DemoStore
from fewstep.envs import ConfigError, DataError
from fewstep.envs.sim.push_t_geometry import PIXELS_SPEC
from fewstep.envs.sim.push_t_geometry import SPEC as PUSHT


def test_the_human_push_t_set_is_whole_and_healthy(human: DemoStore) -> None:
    assert (len(human), human.frames, human.spec) == (206, 25_650, PUSHT)
    assert human.provenance["licence"] == "MIT"
    assert "Chi" in human.provenance["authors"]
    assert human.provenance["source"] == "pusht_cchi_v7_replay.zarr"
    assert check(human) == []


def test_push_t_needs_the_state_of_push_t(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Push-T has agent x y, block x y angle"):
        import_demonstrations(buffer(tmp_path / "in", **numbers()), tmp_path / "out", task="pusht")


def push_t(n: int = 9) -> dict[str, np.ndarray]:
    """Arrays as human Push-T has them."""
    rng = np.random.default_rng(0)
    return {
        "state": rng.uniform(0, 512, (n, 5)).astype(np.float32),
        "img": np.floor(rng.uniform(0, 256, (n, 96, 96, 3))).astype(np.float32),
        "action": rng.uniform(0, 512, (n, 2)).astype(np.float32),
    }


@pytest.mark.parametrize("stored", [np.float32, np.uint8])
def test_push_t_from_pixels_has_the_recorded_pictures(tmp_path: Path, stored: type) -> None:
    arrays = push_t()
    arrays["img"] = arrays["img"].astype(stored)
    source = buffer(tmp_path / "in", **arrays)
    import_demonstrations(source, tmp_path / "out", task="pusht-pixels")
    store = DemoStore.open(tmp_path / "out")
    assert (store.spec, store.images, store.ends.tolist()) == (PIXELS_SPEC, "lossless", [4, 9])
    assert store.provenance["licence"] == "MIT"
    np.testing.assert_array_equal(store.array("pixels"), arrays["img"])
    np.testing.assert_array_equal(store.array("agent_pos"), arrays["state"][:, :2])
    np.testing.assert_array_equal(store.array("action"), arrays["action"])


def test_push_t_from_pixels_may_be_kept_as_jpeg_and_nothing_else_be_chosen(tmp_path: Path) -> None:
    source = buffer(tmp_path / "in", **push_t())
    import_demonstrations(source, tmp_path / "out", Choice(images="jpeg"), task="pusht-pixels")
    assert DemoStore.open(tmp_path / "out").images == "jpeg"
    with pytest.raises(ConfigError, match=r"task=pusht-pixels .* leave out cameras="):
        import_demonstrations(source, tmp_path / "b", Choice(cameras=["img"]), task="pusht-pixels")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("img", np.zeros((9, 8, 8, 3), np.float32), r"pictures of \(8, 8, 3\)"),
        ("img", np.full((9, 96, 96, 3), 300, np.float32), "only 0 to 255"),
        ("state", np.zeros((9, 3)), "Push-T has agent x y, block x y angle"),
    ],
)
def test_push_t_from_pixels_is_refused_where_it_is_something_else(
    tmp_path: Path, name: str, values: np.ndarray, message: str
) -> None:
    source = buffer(tmp_path / "in", **(push_t() | {name: values}))
    with pytest.raises(DataError, match=message):
        import_demonstrations(source, tmp_path / "out", task="pusht-pixels")


def test_the_human_push_t_pictures_come_as_they_were_recorded(human_source: Path) -> None:
    recorded: Any = zarr.open_group(human_source, mode="r")
    with read_pixels(human_source, Choice()) as source:
        assert source.count == 206
        episode = next(iter(source.episodes))
    pixels = episode.data["pixels"]
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, recorded["data/img"][: len(pixels)])


def test_memory_does_not_grow_with_the_number_of_push_t_pictures(tmp_path: Path) -> None:
    frames, episodes = 20, 50
    arrays = push_t(frames)
    repeated = {key: np.concatenate([values] * episodes) for key, values in arrays.items()}
    size = repeated["img"].nbytes
    source = buffer(tmp_path / "in", np.arange(1, episodes + 1) * frames, **repeated)
    del repeated
    tracemalloc.start()
    import_demonstrations(source, tmp_path / "out", task="pusht-pixels")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.3 * size
